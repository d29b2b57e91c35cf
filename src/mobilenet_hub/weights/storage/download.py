"""Downloads that survive the networks people have.

Connections that drop are resumed where they stopped, if the server can say that the file is still
the same; servers that are busy are asked again, later each time; a server that stalls is given up
on. Proxies and certificates come from the environment, as `requests` reads them (HTTPS_PROXY,
NO_PROXY, REQUESTS_CA_BUNDLE), and SSL_CERT_FILE. Nothing is trusted by its name: whoever asked
checks the bytes. A body is only ever read in pieces, up to a bound; that of a redirect not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urljoin, urlsplit

from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
)

from mobilenet_hub.errors import DownloadError
from mobilenet_hub.files import write_atomically
from mobilenet_hub.weights.storage.policy import Policy

if TYPE_CHECKING:
    import requests

PIECE = 1 << 16  # bytes read at a time
MAX_REDIRECTS = 10
# Less than this in a whole timeout is a stall, even if bytes trickle in.
MIN_BYTES_PER_TIMEOUT = 1024

# Called with the bytes so far, and with their total where the server tells it.
OnBytes = Callable[[int, "int | None"], None]

_REDIRECTS = {301, 302, 303, 307, 308}
_BUSY = {408, 425, 429, 500, 502, 503, 504}
_ADVICE = {
    401: "The server wants a login: download the file with a browser",
    403: "The server refuses; a proxy may be in between: download the file with a browser",
    404: "There is no such file there",
    407: "The proxy wants a login: set HTTPS_PROXY=http://user:password@host:port",
    410: "There is no such file there any more",
}


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A finished download.

    Attributes:
        path: where it is.
        sha256, size: of the file.
        resumed: whether it was put together from parts.
    """

    path: Path
    sha256: str
    size: int
    resumed: bool


class _TryAgain(Exception):  # noqa: N818, a signal within this file
    """A failure that another attempt may mend.

    Attributes:
        answer: of the server, if there was one; it may say when to come back.
        unreachable: whether the server could not be reached at all.
    """

    def __init__(
        self, reason: str, *, answer: requests.Response | None = None, unreachable: bool = False
    ) -> None:
        self.answer, self.unreachable = answer, unreachable
        super().__init__(reason)


def download(
    url: str, path: Path, *, policy: Policy | None = None, progress: OnBytes | None = None
) -> Downloaded:
    """Download a file, resuming what is at `path` from an earlier call.

    Args:
        url: http or https.
        path: where to; beside it, `<path>.json` remembers what it is a part of.
        policy: how patient to be.
        progress: is called with the bytes so far, and their total if the server tells.

    Raises:
        DownloadError: names the URL, why it failed, and what to do.
        OSError: the file cannot be written.
    """
    policy = policy or Policy.from_environment()
    retries = policy.retries()
    resumed = False
    with _session() as session:
        while True:
            try:
                resumed |= _attempt(session, url, path, policy, progress)
                break
            except _TryAgain as failure:
                raw = None if failure.answer is None else failure.answer.raw
                kind = ConnectTimeoutError if failure.unreachable else ProtocolError
                try:
                    retries = retries.increment(
                        "GET", url, raw, None if raw is not None else kind(str(failure))
                    )
                except MaxRetryError:
                    attempts = len(retries.history) + 1
                    raise DownloadError(
                        f"Cannot download {url}: {failure}, in {attempts} attempts. Check the "
                        f"network and, if there is one, the proxy (HTTPS_PROXY); a later try goes "
                        f"on where this one stopped. Received: {failure}",
                        url,
                        str(failure),
                    ) from failure
                retries.sleep(raw)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Downloaded(path, sha256, path.stat().st_size, resumed)


def discard(path: Path) -> None:
    """Remove a download, finished or not."""
    for leaving in (path, _note(path)):
        leaving.unlink(missing_ok=True)


def _session() -> requests.Session:
    import requests

    from mobilenet_hub import __version__

    class Session(requests.Session):
        def get_redirect_target(self, resp: Any) -> None:
            """None: `requests` would read the whole body before it goes on."""

    session = Session()
    session.headers["User-Agent"] = f"mobilenet-hub/{__version__}"
    if bundle := os.environ.get("SSL_CERT_FILE"):  # REQUESTS_CA_BUNDLE goes first, in requests
        session.verify = bundle
    return session


def _attempt(
    session: requests.Session, url: str, path: Path, policy: Policy, progress: OnBytes | None
) -> bool:
    """One request; whether it went on where another had stopped."""
    offset, validator = _resumable(url, path)
    # The file itself is wanted, not a compressed form of it, of which a part would be no part.
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
    with contextlib.closing(_follow(session, url, headers, policy)) as response:
        if response.status_code == 416 and _total_of_range(response) == offset > 0:
            return True  # all of it was here already, and the server says it is still the same
        _check_answer(response, url, path)
        if response.status_code != 206 or _range_start(response) != offset:
            if response.status_code == 206:
                discard(path)
                raise _TryAgain("the server sent another part than the one that was asked for")
            offset = 0
        _receive(response, url, path, offset, policy, progress)
    return offset > 0


def _follow(
    session: requests.Session, url: str, headers: dict[str, str], policy: Policy
) -> requests.Response:
    """The first answer that is no redirect; each place is looked at before it is asked."""
    place = _checked(url, url)
    for _ in range(MAX_REDIRECTS + 1):
        response = _get(session, place, headers, policy, url)
        target = response.headers.get("Location")
        if response.status_code not in _REDIRECTS or not target:
            return response
        response.close()  # its body, which may be endless, is not read
        place = _checked(target, url, place)
    reason = f"more than {MAX_REDIRECTS} redirects"
    raise DownloadError(f"Cannot download {url}. Received: {reason}", url, reason)


def _checked(target: str, url: str, place: str = "") -> str:
    """The address that a redirect at `place` leads to, if it is one that may be asked."""
    try:
        place = urljoin(place, target)
        scheme, host = urlsplit(place).scheme.lower(), urlsplit(place).hostname
    except ValueError:  # brackets without an address in them
        scheme, host, place = "", None, target
    if scheme not in ("http", "https") or not host:
        reason = f"{place!r}, which is no address of the web: expected http:// or https://"
        raise DownloadError(f"Cannot download {url}. Received: {reason}", url, reason)
    if scheme == "http" and urlsplit(url).scheme.lower() == "https":
        reason = f"a redirect from https to {place}, which anybody could answer"
        raise DownloadError(f"Cannot download {url}. Received: {reason}", url, reason)
    return place


def _get(
    session: requests.Session, place: str, headers: dict[str, str], policy: Policy, url: str
) -> requests.Response:
    """The answer of one server, its body still to be read."""
    import requests

    try:
        return session.get(
            place, headers=headers, stream=True,
            timeout=(policy.connect_timeout, policy.timeout),
        )  # fmt: skip
    except requests.exceptions.SSLError as error:
        advice = (
            "the server's certificate is not trusted. Behind a proxy that inspects traffic, set "
            "REQUESTS_CA_BUNDLE to its certificate"
        )
        raise DownloadError(
            f"Cannot download {url}: {advice}. Received: {error}", url, advice
        ) from error
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
        unreachable = isinstance(
            error, requests.exceptions.ConnectTimeout | requests.exceptions.ProxyError
        ) or any(isinstance(cause, NewConnectionError) for cause in _causes(error))
        raise _TryAgain(_reason(error), unreachable=unreachable) from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise _TryAgain(_reason(error)) from error
    except (requests.exceptions.RequestException, ValueError) as error:
        raise DownloadError(f"Cannot download {url}. Received: {error}", url, str(error)) from error


def _check_answer(response: requests.Response, url: str, path: Path) -> None:
    """Sort answers into good ones, those worth another attempt, and the end of it."""
    status = response.status_code
    if status in (200, 206):
        return
    if status == 416:  # the file is shorter now than the part that is here
        discard(path)
        raise _TryAgain("the file on the server has changed")
    reason = f"HTTP status {status} {response.reason or ''}".rstrip()
    if status in _BUSY:
        raise _TryAgain(reason, answer=response)
    advice = _ADVICE.get(status, "The server does not give the file")
    raise DownloadError(
        f"Cannot download {url}. {advice}. Received: {reason}", url, f"{reason}. {advice}", status
    )


def _receive(
    response: requests.Response,
    url: str,
    path: Path,
    offset: int,
    policy: Policy,
    progress: OnBytes | None,
) -> None:
    total = _total(response, offset)
    if total is not None and total > policy.max_bytes:
        raise _too_large(url, policy, f"{total:,} bytes")
    note = {"url": url, "validator": _validator(response)}
    write_atomically(_note(path), json.dumps(note).encode())
    received = offset
    with _open_part(path, append=offset > 0) as file:
        for piece in _pieces(response.raw, policy):
            received += len(piece)
            if received > policy.max_bytes:
                raise _too_large(url, policy, "more")
            file.write(piece)
            if progress is not None:
                progress(received, total)
        _flush(file)
    if total is not None and received != total:
        if received > total:
            discard(path)
        raise _TryAgain(f"the connection ended after {received:,} of {total:,} bytes")


def _open_part(path: Path, *, append: bool) -> BinaryIO:
    """The file to write to: a new one, or the one that `_resumable` found, never through a link."""
    if not append:
        path.unlink(missing_ok=True)
    flags = os.O_APPEND if append else os.O_CREAT | os.O_EXCL
    flags |= os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
    return os.fdopen(os.open(path, flags, 0o600), "ab" if append else "wb")


def _pieces(raw: Any, policy: Policy) -> Iterator[bytes]:
    """What comes in, as it comes in; a trickle is a stall."""
    window, in_window = time.monotonic(), 0
    while True:
        try:
            piece = raw.read1(PIECE)
        except (HTTPError, OSError) as error:
            raise _TryAgain(_reason(error)) from error
        if not piece:
            return
        yield piece
        in_window += len(piece)
        if (now := time.monotonic()) - window > policy.timeout:
            if in_window < MIN_BYTES_PER_TIMEOUT:
                raise _TryAgain(f"only {in_window} bytes came in {policy.timeout:g} s")
            window, in_window = now, 0


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _too_large(url: str, policy: Policy, received: str) -> DownloadError:
    expected = f"expected at most {policy.max_bytes:,} bytes, many times what any MobileNet takes"
    reason = f"{expected}; received {received}"
    return DownloadError(f"Cannot download {url}: {expected}. Received: {received}", url, reason)


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _resumable(url: str, path: Path) -> tuple[int, str]:
    """How much of the file is here, and the server's mark for it; nothing without a mark.

    Only a regular file that this user wrote counts: in a shared cache, others may have put a link
    there, or bytes of their own.
    """
    try:
        note = json.loads(_note(path).read_text())
        status = path.lstat()
    except (OSError, ValueError):
        return 0, ""
    mine = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
    if not (mine and stat.S_ISREG(status.st_mode) and status.st_nlink == 1):
        return 0, ""
    if not isinstance(note, dict) or note.get("url") != url or not note.get("validator"):
        return 0, ""
    return status.st_size, str(note["validator"])


def _validator(response: requests.Response) -> str:
    """A strong ETag, or the time of last change: what If-Range takes (RFC 9110, 13.1.5)."""
    etag = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified", "")


def _total(response: requests.Response, offset: int) -> int | None:
    length = _number(response.headers.get("Content-Length", ""))
    return None if length is None else offset + length


def _range_start(response: requests.Response) -> int | None:
    """The first byte in `Content-Range: bytes 100-199/200`."""
    value = response.headers.get("Content-Range", "")
    return _number(value.removeprefix("bytes ").partition("-")[0])


def _total_of_range(response: requests.Response) -> int | None:
    """The size in `Content-Range: bytes */200`."""
    return _number(response.headers.get("Content-Range", "").partition("*/")[2])


def _number(text: str) -> int | None:
    """A number in a header; None for anything else, and for what Python would not convert."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _reason(error: BaseException) -> str:
    """The innermost of the errors that wrap each other, which says it shortest."""
    innermost = list(_causes(error))[-1]
    return str(innermost) or type(innermost).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, the one inside it, the one inside that, ..."""
    current: object = error
    seen: set[int] = set()
    while isinstance(current, BaseException) and id(current) not in seen:
        seen.add(id(current))
        yield current
        inside = (arg for arg in current.args if isinstance(arg, BaseException))
        current = current.__cause__ or next(inside, None) or getattr(current, "reason", None)
