"""A file behind http or https as a stream, of which the reader takes as much as it allows."""

from __future__ import annotations

import io
import time
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mobilenet_hub.errors import FileChangedError, NetworkError
from mobilenet_hub.web.patience import Patience, timeout_seconds
from mobilenet_hub.web.request import open_response, reason_of, size_and_time

if TYPE_CHECKING:
    import requests

# Less than this in a whole timeout is a stall, even if bytes trickle in.
MIN_BYTES_PER_TIMEOUT = 1024

_PIECE = 1 << 16
_SKIP_BYTES = 1 << 20  # a shorter way ahead is read, not asked for anew


class HttpFile(io.RawIOBase):
    """A file behind http or https, read on from where one is; asked for anew where that fails.

    Args:
        url: of the file.
        patience: with which it is asked for; shared by those who begin again from the start.

    Attributes:
        size: in bytes, as the server says it; None if it does not.
        modified: when, in seconds since 1970; 0 if the server does not say.
        validator: the server's mark for this very file; empty if it has none.
        requests: how often it was asked for.

    Raises:
        NetworkError: also from reading: the server does not give it, or not in time.
    """

    def __init__(self, url: str, patience: Patience | None = None) -> None:
        self._url = url
        self._position = 0
        self._response: requests.Response | None = None
        self._unzip: Any = None
        self._patience = patience or Patience()
        self._parts = False
        self.validator, self.requests = "", 0
        self.size: int | None = None
        self.modified = 0.0
        self._again(self._ask)

    @property
    def encoded(self) -> bool:
        """Whether it is unpacked while it is read, so that `size` is another one."""
        return self._unzip is not None

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Whether the server gives parts of the file."""
        return self._parts

    def readinto(self, buffer: Any) -> int:
        """Whatever has come, up to the size of the buffer."""
        data: bytes = self._again(lambda: self._receive(len(buffer)))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go somewhere else; what is near is read, what is far is asked for."""
        if not self._parts or self.size is None:
            raise io.UnsupportedOperation("the server does not give parts of this file")
        target = offset + {0: 0, 1: self._position, 2: self.size}[whence]
        if 0 < target - self._position <= _SKIP_BYTES:
            while self._position < target and self.read(target - self._position):
                pass
        if target != self._position:
            self._hang_up()
            self._position = target
        return target

    def tell(self) -> int:
        """Bytes from the beginning."""
        return self._position

    def close(self) -> None:
        """Hang up."""
        self._hang_up()
        super().close()

    def _again(self, action: Callable[[], Any]) -> Any:
        while True:
            try:
                return action()
            except NetworkError as error:
                self._hang_up()
                if self._position and not self._parts:
                    raise
                self._patience.after(error)

    def _hang_up(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _ask(self) -> None:
        """Begin to receive at the present position."""
        headers = {}
        if self._position:
            headers = {"Range": f"bytes={self._position}-"}
            if self.validator:
                headers["If-Range"] = self.validator
        response = open_response("GET", self._url, headers)
        self.requests += 1
        start = response.headers.get("Content-Range", f"bytes {0 if not headers else None}-")
        if not start.startswith(f"bytes {self._position}-"):
            response.close()
            raise FileChangedError("the file changed while it was read", transient=False)
        self._response = response
        if not self._position:
            self.size, self.modified = size_and_time(response.headers)
            self._unzip = _unzipper(response.headers.get("Content-Encoding", "identity"))
            accepts = response.headers.get("Accept-Ranges", "").lower() == "bytes"
            self._parts = accepts and self.size is not None and self._unzip is None
            self.validator = _validator(response.headers)
        self._window = time.monotonic(), self._position
        self._renewed = self._position

    def _receive(self, size: int) -> bytes:
        if self._response is None:
            if self._parts and self.size is not None and self._position >= self.size:
                return b""
            self._ask()
        data = self._unzipped(size) if self._unzip else self._read(min(size, _PIECE))
        if not data and self._unzip is None and self.size not in (None, self._position):
            raise NetworkError(
                f"the connection ended after {self._position:,} of {self.size:,} bytes"
            )
        if self._position - self._renewed > _SKIP_BYTES:
            self._patience.renew()
            self._renewed = self._position
        return data

    def _unzipped(self, size: int) -> bytes:
        while not self._unzip.eof:
            piece = self._unzip.unconsumed_tail or self._read(_PIECE)
            try:
                data: bytes = self._unzip.decompress(piece, size)
            except zlib.error as error:
                raise NetworkError(f"a body that is not gzip: {error}", transient=False) from error
            if data:
                return data
            if not piece and not self._unzip.eof:
                raise NetworkError("the connection ended in the middle of a gzip body")
        return b""

    def _read(self, size: int) -> bytes:
        """What comes in; a trickle is a stall."""
        from urllib3.exceptions import HTTPError

        assert self._response is not None
        try:
            piece: bytes = self._response.raw.read1(size)
        except (HTTPError, OSError) as error:
            raise NetworkError(reason_of(error)) from error
        now, (since, position) = time.monotonic(), self._window
        received = self._position + len(piece)
        if self._patience.deadline is not None and now > self._patience.deadline:
            raise NetworkError(f"not finished in time, {received:,} bytes came", transient=False)
        if now - since > timeout_seconds():
            if received - position < MIN_BYTES_PER_TIMEOUT:
                raise NetworkError(f"only {received - position} bytes came in {now - since:.0f} s")
            self._window = now, received
        return piece


def _validator(headers: Mapping[str, str]) -> str:
    """A strong ETag, or the time of last change: what If-Range takes (RFC 9110, 13.1.5)."""
    etag = headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return headers.get("Last-Modified", "")


def _unzipper(encoding: str) -> Any:
    if encoding.lower() in ("", "identity"):
        return None
    if encoding.lower() not in ("gzip", "x-gzip"):
        raise NetworkError(f"a body in another encoding than was asked for: {encoding[:40]!r}")
    return zlib.decompressobj(16 + zlib.MAX_WBITS)
