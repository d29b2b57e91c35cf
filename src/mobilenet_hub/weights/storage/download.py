"""Downloads that survive the networks people have.

Connections that drop are resumed where they stopped, if the server can say that the file is still
the same; servers that are busy are asked again, later each time; a server that stalls is given up
on. Proxies and certificates come from the environment, as `requests` reads them (HTTPS_PROXY,
NO_PROXY, REQUESTS_CA_BUNDLE), and SSL_CERT_FILE. Nothing is trusted by its name: whoever asked
checks the bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mobilenet_hub.errors import DownloadError

if TYPE_CHECKING:
    import requests

TIMEOUT_VARIABLE = "MOBILENET_HUB_TIMEOUT"
CHUNK = 1 << 16
# Less than this in a whole timeout is a stall, even if bytes trickle in.
MIN_BYTES_PER_TIMEOUT = 1024

Progress = Callable[[int, "int | None"], None]

_BUSY = {408, 425, 429, 500, 502, 503, 504}
_ADVICE = {
    401: "The server wants a login: download the file with a browser",
    403: "The server refuses; a proxy may be in between: download the file with a browser",
    404: "There is no such file there",
    407: "The proxy wants a login: set HTTPS_PROXY=http://user:password@host:port",
    410: "There is no such file there any more",
}


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient a download is.

    Attributes:
        attempts: how often a dropped or refused request is tried again, the first included.
        connect_attempts: the same for servers that cannot be reached at all, so that a machine
            without a network finds out soon.
        backoff: seconds before the second attempt; doubled for each further one, up to
            `max_backoff`, with some chance in it.
        connect_timeout, timeout: seconds to wait for a connection, and for bytes.
        max_bytes: the largest file that is accepted.
    """

    attempts: int = 5
    connect_attempts: int = 2
    backoff: float = 0.5
    max_backoff: float = 30.0
    connect_timeout: float = 5.0
    timeout: float = 30.0
    max_bytes: int = 1 << 30

    @staticmethod
    def from_environment() -> Policy:
        """The default, with the timeout of MOBILENET_HUB_TIMEOUT (seconds).

        Raises:
            DownloadError: the variable is not a positive number.
        """
        text = os.environ.get(TIMEOUT_VARIABLE)
        if not text:
            return Policy()
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            raise DownloadError(
                f"{TIMEOUT_VARIABLE} must be a positive number of seconds. Received: {text!r}"
            )
        return Policy(timeout=seconds, connect_timeout=min(5.0, seconds))


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
        after: seconds the server asked to wait.
        unreachable: whether the server could not be reached at all.
    """

    def __init__(
        self, reason: str, *, after: float | None = None, unreachable: bool = False
    ) -> None:
        self.after, self.unreachable = after, unreachable
        super().__init__(reason)


def download(
    url: str, path: Path, *, policy: Policy | None = None, progress: Progress | None = None
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
    resumed = False
    with _session() as session:
        attempt = unreachable = 0
        while True:
            attempt += 1
            try:
                resumed |= _attempt(session, url, path, policy, progress)
                break
            except _TryAgain as failure:
                unreachable += failure.unreachable
                if attempt >= policy.attempts or unreachable >= policy.connect_attempts:
                    raise DownloadError(
                        f"Cannot download {url}: {failure}, in {attempt} attempts. Check the "
                        f"network and, if there is one, the proxy (HTTPS_PROXY); a later try goes "
                        f"on where this one stopped. Received: {failure}",
                        url,
                        str(failure),
                    ) from failure
                time.sleep(_wait(attempt, failure, policy))
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Downloaded(path, sha256, path.stat().st_size, resumed)


def discard(path: Path) -> None:
    """Remove a download, finished or not."""
    for leaving in (path, _note(path)):
        leaving.unlink(missing_ok=True)


def _wait(attempt: int, failure: _TryAgain, policy: Policy) -> float:
    if failure.after is not None:
        return min(failure.after, policy.max_backoff)
    longest = min(policy.backoff * 2.0 ** (attempt - 1), policy.max_backoff)
    return longest * random.uniform(0.5, 1.0)  # so that not all come back at once


def _session() -> requests.Session:
    import requests

    from mobilenet_hub import __version__

    session = requests.Session()
    session.max_redirects = 10
    session.headers["User-Agent"] = f"mobilenet-hub/{__version__}"
    if bundle := os.environ.get("SSL_CERT_FILE"):  # REQUESTS_CA_BUNDLE goes first, in requests
        session.verify = bundle
    return session


def _attempt(
    session: requests.Session, url: str, path: Path, policy: Policy, progress: Progress | None
) -> bool:
    """One request; whether it went on where another had stopped."""
    import requests

    offset, validator = _resumable(url, path)
    # The file itself is wanted, not a compressed form of it, of which a part would be no part.
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
    try:
        response = session.get(
            url, headers=headers, stream=True, timeout=(policy.connect_timeout, policy.timeout)
        )
    except requests.exceptions.SSLError as error:
        advice = (
            "the server's certificate is not trusted. Behind a proxy that inspects traffic, set "
            "REQUESTS_CA_BUNDLE to its certificate"
        )
        raise DownloadError(
            f"Cannot download {url}: {advice}. Received: {error}", url, advice
        ) from error
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
        reason = _reason(error)
        unreachable = isinstance(
            error, requests.exceptions.ConnectTimeout | requests.exceptions.ProxyError
        ) or _never_connected(error)
        raise _TryAgain(reason, unreachable=unreachable) from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise _TryAgain(_reason(error)) from error
    except (requests.exceptions.RequestException, ValueError) as error:
        raise DownloadError(f"Cannot download {url}. Received: {error}", url, str(error)) from error
    with contextlib.closing(response):
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


def _check_answer(response: requests.Response, url: str, path: Path) -> None:
    """Sort answers into good ones, those worth another attempt, and the end of it."""
    status = response.status_code
    hops = [hop.url for hop in (*response.history, response)]
    plain = [hop for hop in hops if not hop.startswith("https:")]
    if url.startswith("https:") and plain:
        reason = f"a redirect from https to {plain[0]}, which anybody could answer"
        raise DownloadError(f"Cannot download {url}. Received: {reason}", url, reason, status)
    if status in (200, 206):
        return
    if status == 416:  # the file is shorter now than the part that is here
        discard(path)
        raise _TryAgain("the file on the server has changed")
    reason = f"HTTP status {status} {response.reason or ''}".rstrip()
    if status in _BUSY:
        raise _TryAgain(reason, after=_retry_after(response))
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
    progress: Progress | None,
) -> None:
    total = _total(response, offset)
    if total is not None and total > policy.max_bytes:
        raise _too_large(url, policy, f"{total:,} bytes")
    _note(path).write_text(json.dumps({"url": url, "validator": _validator(response)}))
    received = offset
    with path.open("ab" if offset else "wb") as file:
        for chunk in _chunks(response.raw, policy):
            received += len(chunk)
            if received > policy.max_bytes:
                raise _too_large(url, policy, "more")
            file.write(chunk)
            if progress is not None:
                progress(received, total)
        _flush(file)
    if total is not None and received != total:
        if received > total:
            discard(path)
        raise _TryAgain(f"the connection ended after {received:,} of {total:,} bytes")


def _chunks(raw: Any, policy: Policy) -> Iterator[bytes]:
    """What comes in, as it comes in; a trickle is a stall."""
    from urllib3.exceptions import HTTPError

    window, in_window = time.monotonic(), 0
    while True:
        try:
            chunk = raw.read1(CHUNK)
        except (HTTPError, OSError) as error:
            raise _TryAgain(_reason(error)) from error
        if not chunk:
            return
        yield chunk
        in_window += len(chunk)
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
    """How much of the file is here, and the server's mark for it; nothing without a mark."""
    try:
        note = json.loads(_note(path).read_text())
        size = path.stat().st_size
    except (FileNotFoundError, ValueError):
        return 0, ""
    if not isinstance(note, dict) or note.get("url") != url or not note.get("validator"):
        return 0, ""
    return size, str(note["validator"])


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


def _retry_after(response: requests.Response) -> float | None:
    """Seconds; the form with a date is left to the back-off."""
    return _number(response.headers.get("Retry-After", ""))


def _number(text: str) -> int | None:
    """A number in a header; None for anything else, and for what Python would not convert."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _reason(error: BaseException) -> str:
    """The innermost of the errors that wrap each other, which says it shortest."""
    while True:
        inner = error.__cause__ or next(
            (arg for arg in error.args if isinstance(arg, BaseException)), None
        )
        inner = inner or getattr(error, "reason", None)
        if not isinstance(inner, BaseException) or inner is error:
            return str(error) or type(error).__name__
        error = inner


def _never_connected(error: BaseException) -> bool:
    """Whether the name could not be resolved, or nobody answered there."""
    from urllib3.exceptions import NewConnectionError

    seen: list[Any] = [error]
    while seen:
        current = seen.pop()
        if isinstance(current, NewConnectionError):
            return True
        if isinstance(current, BaseException):
            seen += [arg for arg in (*current.args, getattr(current, "reason", None)) if arg]
    return False


@contextlib.contextmanager
def terminal_progress(label: str) -> Iterator[Progress | None]:
    """A progress bar on standard error if that is a terminal; else nothing."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Bars(*columns, TransferSpeedColumn(), console=console, transient=True) as bars:
        task = bars.add_task(label, total=None)

        def show(received: int, total: int | None) -> None:
            bars.update(task, completed=received, total=total)

        yield show
