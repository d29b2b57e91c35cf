"""A file on a network: `http(s)://`, and, through fsspec, `s3://`, `gs://`, `az://` and others.

Reading is waiting, so the pipeline reads many such items at once; and whoever waits is told when
nobody wants the result any more (`web.patience.Waits`).
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, ClassVar

from mobilenet_hub.errors import ItemError, MissingExtraError, NetworkError, SourceError
from mobilenet_hub.pipeline.sources.items import (
    Stamp,
    nanoseconds,
    path_id,
    read_image,
    refuse_size,
)
from mobilenet_hub.web.http_file import HttpFile
from mobilenet_hub.web.patience import Patience, current_waits, timeout_seconds
from mobilenet_hub.web.request import open_response, size_and_time

_ITEM_TIMEOUTS = 4  # in which all of an item must have come, all attempts together
_PART_BYTES = 5 << 20  # of a list, table or archive, asked for at a time
_turns = threading.BoundedSemaphore(8)
_TIME_KEYS = ("mtime", "LastModified", "last_modified", "updated", "Last-Modified", "created")
_GONE = (FileNotFoundError, PermissionError, IsADirectoryError)


@dataclass(frozen=True, slots=True)
class RemoteItem:
    """A file on a network.

    Attributes:
        id: its URL, or what a list calls it.
        path: its URL.
        known: its stamp, if a listing gave it.
    """

    id: str
    path: str
    known: Stamp | None = None
    remote: ClassVar[bool] = True

    def stamp(self) -> Stamp | None:
        """As the listing gave it, else as the server gives it."""
        if self.known is not None:
            return self.known
        try:
            if is_web(self.path):
                with open_response("HEAD", self.path) as response:
                    size, modified = size_and_time(response.headers)
                return None if size is None else Stamp(size, nanoseconds(modified))
            fs, path = filesystem(self.path)
            return stamp_of(call(fs, "info", path, timeouts=1))
        except (NetworkError, SourceError):
            return None  # reading it will say why

    def read(self, max_bytes: int) -> tuple[bytes, Stamp]:
        """The whole file; tried again when the network fails.

        Raises:
            ItemError: it is not there, too large, or failed every time.
        """
        patience = Patience(_ITEM_TIMEOUTS)
        while True:
            try:
                try:
                    if is_web(self.path):
                        return self._read_web(max_bytes, patience)
                    return self._read_store(max_bytes)
                except NetworkError as error:
                    patience.after(error)
            except (NetworkError, SourceError, MissingExtraError) as error:
                raise ItemError("read", str(error)) from error

    def _read_web(self, max_bytes: int, patience: Patience) -> tuple[bytes, Stamp]:
        with HttpFile(self.path, patience) as file:
            size = None if file.encoded else file.size
            data = read_image(io.BufferedReader(file).read, size, max_bytes, _turn)
            size = len(data) if file.size is None else file.size
            return data, Stamp(size, nanoseconds(file.modified))

    def _read_store(self, max_bytes: int) -> tuple[bytes, Stamp]:
        fs, path = filesystem(self.path)
        stamp = self.known or stamp_of(call(fs, "info", path, timeouts=1))
        if stamp is not None:
            refuse_size(stamp.size, max_bytes)
            if stamp.size == 0:  # of nothing, no part can be asked for
                return b"", stamp
        # One byte more than there should be, in case the file has grown.
        end = max_bytes + 1 if stamp is None else stamp.size + 1
        data = call(fs, "cat_file", path, start=0, end=end, timeouts=_ITEM_TIMEOUTS)
        refuse_size(len(data), max_bytes)
        if stamp is not None and len(data) != stamp.size:
            raise NetworkError("it changed while it was read", transient=False)
        return data, stamp or Stamp(len(data), 0)


@contextmanager
def _turn() -> Iterator[None]:
    """One of the few that may receive a large file at a time: many would fill memory.

    Raises:
        NetworkError: nobody waits for it any more.
    """
    while not _turns.acquire(timeout=0.2):
        if current_waits().ended.is_set():
            raise NetworkError("ended before it was read", transient=False)
    try:
        yield
    finally:
        _turns.release()


def url_item(url: str, identity: str | None = None) -> RemoteItem:
    """The item of a URL in a list."""
    return RemoteItem(path_id(identity if identity is not None else url), url)


def open_remote(url: str) -> io.BufferedReader:
    """A file on a network, to be read on; whatever goes wrong there is an `OSError`."""
    if is_web(url):
        return io.BufferedReader(HttpFile(url))
    return io.BufferedReader(_StoreFile(url), _PART_BYTES)


def is_web(url: str) -> bool:
    """Whether a URL is one of http or https."""
    return url.partition("://")[0].lower() in ("http", "https")


class _StoreFile(io.RawIOBase):
    """A file that fsspec knows, read in parts; whatever goes wrong is a `NetworkError`."""

    def __init__(self, url: str) -> None:
        self._fs, self._path = filesystem(url)
        stamp = stamp_of(call(self._fs, "info", self._path, timeouts=1))
        if stamp is None:
            raise NetworkError("its size is not known", transient=False)
        self._size = stamp.size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        start, end = self._position, min(self._position + len(buffer), self._size)
        data = call(self._fs, "cat_file", self._path, start=start, end=end) if start < end else b""
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + {0: 0, 1: self._position, 2: self._size}[whence]
        return self._position

    def tell(self) -> int:
        return self._position


def filesystem(url: str) -> tuple[Any, str]:
    """The filesystem of a URL, and its path there. Credentials come from the environment.

    Raises:
        SourceError: there is no such protocol, or the URL is none of it.
        MissingExtraError: the protocol's client is not installed.
    """
    protocol, _, rest = url.partition("://")
    if not rest:
        raise SourceError(f"expected something after {protocol}://. Received: {url!r}")
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingExtraError("remote", f"reading {protocol}:// URLs") from error
    try:
        # No listing is kept: it would fill memory, grow old, and lack the keys with `//`.
        fs, path = url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        raise MissingExtraError("remote", f"reading {protocol}:// URLs ({error})") from error
    except Exception as error:  # whatever a filesystem raises where a URL lacks what it needs
        why = network_error(error)
        raise SourceError(f"not a URL that can be read: {why}. Received: {url!r}") from error
    return fs, path


def call(fs: Any, name: str, *arguments: Any, timeouts: int | None = None, **options: Any) -> Any:
    """Call a method of a filesystem; that ends at once where nobody waits any more.

    Args:
        fs: the filesystem.
        name: of the method.
        *arguments: of the method.
        timeouts: how many `timeout_seconds` it may take; None for any number.
        **options: of the method.

    Raises:
        NetworkError: whatever it raised.
    """
    seconds = timeouts and timeouts * timeout_seconds()
    try:
        if not getattr(fs, "async_impl", False):
            with _lock_of(id(fs)):  # most keep to one connection
                return getattr(fs, name)(*arguments, **options)
        import asyncio

        method = getattr(fs, f"_{name}")
        if name == "cat_file" and hasattr(fs, "_call_s3"):
            method = partial(_part_of_object, fs)
        waiting = asyncio.wait_for(method(*arguments, **options), seconds)
        future = asyncio.run_coroutine_threadsafe(waiting, fs.loop)
        with current_waits().until(future.cancel):
            return future.result()
    except CancelledError as error:
        raise NetworkError("ended before there was an answer", transient=False) from error
    except Exception as error:  # whatever a filesystem raises
        raise network_error(error) from error


async def _part_of_object(fs: Any, path: str, *, start: int, end: int) -> bytes:
    """`cat_file` of s3fs, which takes all that is sent: a server may not know of parts."""
    bucket, key, version = fs.split_path(path)
    wanted = {"VersionId": version} if version else {}
    answer = await fs._call_s3(
        "get_object", Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}", **wanted
    )
    data, body = bytearray(), answer["Body"]
    try:
        if start and "ContentRange" not in answer:
            raise NetworkError("the server does not give parts of files", transient=False)
        while len(data) < end - start and (piece := await body.read(end - start - len(data))):
            data += piece
    finally:
        body.close()
    return bytes(data)


@lru_cache(maxsize=64)
def _lock_of(filesystem_id: int) -> threading.Lock:
    return threading.Lock()


def stamp_of(info: dict[str, Any]) -> Stamp | None:
    """Size and time of modification in what a filesystem says of a file."""
    size = info.get("size")
    if size is None:
        return None
    time_value = next((info[key] for key in _TIME_KEYS if info.get(key) is not None), None)
    if isinstance(time_value, datetime):
        return Stamp(int(size), nanoseconds(time_value.timestamp()))
    if isinstance(time_value, (int, float)):
        return Stamp(int(size), nanoseconds(time_value))
    return Stamp(int(size), 0)


def network_error(error: Exception) -> NetworkError:
    """What a filesystem raised, on one line."""
    if isinstance(error, NetworkError):
        return error
    message = " ".join(str(error).split())
    if isinstance(error, FileNotFoundError):
        message = "No such file"
    elif isinstance(error, TimeoutError) and not message:
        message = "no answer in time"
    else:
        message = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return NetworkError(message, transient=not isinstance(error, _GONE))
