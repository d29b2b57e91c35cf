"""Downloads of files of weights, resumed where an earlier one stopped, also by another process.

`web` asks, waits and asks again. Nothing is trusted by its name: whoever wants the file checks the
bytes. A part is gone on with if the server can say that the file is still the same, and only if it
is a regular file of this user's own: in a shared cache, others may have put a link in its place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mobilenet_hub.errors import DownloadError, FileChangedError, NetworkError
from mobilenet_hub.files import read_json, write_atomically
from mobilenet_hub.web.http_file import HttpFile
from mobilenet_hub.web.patience import Patience

MAX_BYTES = 1 << 30  # many times what any MobileNet takes
PIECE = 1 << 16  # bytes read at a time

# Called with the bytes so far, and with their total where the server tells it.
OnBytes = Callable[[int, "int | None"], None]

_ADVICE = {
    401: "The server wants a login: download the file with a browser",
    403: "The server refuses; a proxy may be in between: download the file with a browser",
    404: "There is no such file there",
    407: "The proxy wants a login: set HTTPS_PROXY=http://user:password@host:port",
    410: "There is no such file there any more",
}
_LATER = (
    "Check the network and, if there is one, the proxy (HTTPS_PROXY); a later try goes on where "
    "this one stopped"
)


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


def download(url: str, path: Path, *, progress: OnBytes | None = None) -> Downloaded:
    """Download a file, resuming what is at `path` from an earlier call.

    Args:
        url: http or https.
        path: where to; beside it, `<path>.json` remembers what it is a part of.
        progress: is called with the bytes so far, and their total if the server tells.

    Raises:
        DownloadError: names the URL, why it failed, and what to do.
        OSError: the file cannot be written.
    """
    try:
        resumed = _download(url, path, progress)
    except NetworkError as error:
        default = _LATER if error.transient else "The server does not give the file"
        advice = _ADVICE.get(error.status or 0, default)
        raise DownloadError(
            f"Cannot download {url}. {advice}. Received: {error}",
            url,
            f"{error}. {advice}",
            error.status,
        ) from error
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Downloaded(path, sha256, path.stat().st_size, resumed)


def discard(path: Path) -> None:
    """Remove a download, finished or not."""
    for leaving in (path, _note(path)):
        leaving.unlink(missing_ok=True)


def _download(url: str, path: Path, progress: OnBytes | None) -> bool:
    """Download the file; whether it is put together from parts."""
    patience = Patience()
    while True:
        try:
            with contextlib.closing(HttpFile(url, patience)) as remote:
                start = _resumable(url, path, remote)
                if start:
                    remote.seek(start)
                _receive(remote, url, path, start, progress)
                return start > 0 or remote.requests > 1
        except FileChangedError as error:
            discard(path)
            patience.after(NetworkError(str(error)))
        except NetworkError as error:  # from a server that gives no parts: from the start again
            patience.after(error)


def _receive(remote: HttpFile, url: str, path: Path, start: int, progress: OnBytes | None) -> None:
    if remote.size is not None and remote.size > MAX_BYTES:
        raise _too_large(url, f"{remote.size:,} bytes")
    note = {"url": url, "validator": remote.validator}
    write_atomically(_note(path), json.dumps(note).encode())
    received = start
    with _open_part(path, append=start > 0) as file:
        while piece := remote.read(PIECE):
            received += len(piece)
            if received > MAX_BYTES:
                raise _too_large(url, "more")
            file.write(piece)
            if progress is not None:
                progress(received, remote.size)
        file.flush()
        os.fsync(file.fileno())


def _too_large(url: str, received: str) -> DownloadError:
    expected = f"expected at most {MAX_BYTES:,} bytes, many times what any MobileNet takes"
    reason = f"{expected}; received {received}"
    return DownloadError(f"Cannot download {url}: {expected}. Received: {received}", url, reason)


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _resumable(url: str, path: Path, remote: HttpFile) -> int:
    """How much of the remote file is here and may be gone on with."""
    try:
        with _note(path).open("rb") as file:
            note = read_json(file)
        status = path.lstat()
    except (OSError, ValueError):
        return 0
    mine = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
    regular = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
    same = bool(remote.validator) and note == {"url": url, "validator": remote.validator}
    if not (mine and regular and same and remote.seekable()):
        return 0
    return status.st_size if status.st_size <= (remote.size or 0) else 0


def _open_part(path: Path, *, append: bool) -> BinaryIO:
    """The file to write to: a new one, or the one that `_resumable` found, never through a link."""
    if not append:
        path.unlink(missing_ok=True)
    flags = os.O_APPEND if append else os.O_CREAT | os.O_EXCL
    flags |= os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
    return os.fdopen(os.open(path, flags, 0o600), "ab" if append else "wb")
