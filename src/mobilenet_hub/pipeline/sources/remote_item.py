"""A file on a network, through fsspec (extra `[remote]`): `s3://`, `gs://`, `az://`, `http(s)://`.

Reading is waiting, so the pipeline reads many such items at once.
"""

from __future__ import annotations

import io
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar

from mobilenet_hub.errors import ItemError, MissingExtraError, SourceError
from mobilenet_hub.pipeline.sources.items import Stamp, path_id, refuse_size

_ATTEMPTS = 3
_PAUSE_SECONDS = 0.5
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
            fs, path = filesystem(self.path)
            return stamp_of(fs.info(path))
        except Exception:  # whatever a filesystem raises; reading it will say why
            return None

    def read(self, max_bytes: int) -> tuple[bytes, Stamp]:
        """The whole file; tried again when the network fails.

        Raises:
            ItemError: it is not there, too large, or failed every time.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._read(max_bytes)
            except ItemError:
                raise
            except Exception as error:  # fsspec's filesystems raise whatever their clients do
                why = network_reason(error)
                if isinstance(error, _GONE) or attempt == _ATTEMPTS:
                    raise ItemError("read", why) from error
                time.sleep(_PAUSE_SECONDS * 4 ** (attempt - 1))
        raise AssertionError("unreachable")

    def _read(self, max_bytes: int) -> tuple[bytes, Stamp]:
        fs, path = filesystem(self.path)
        stamp = self.known or stamp_of(fs.info(path))
        if stamp is not None:
            refuse_size(stamp.size, max_bytes)
            data = fs.cat_file(path)
        else:  # a server that does not say how much it will send
            with closing(fs.open(path, "rb", block_size=0)) as file:
                data = file.read(max_bytes + 1)
        refuse_size(len(data), max_bytes)
        return data, stamp or Stamp(len(data), 0)


def url_item(url: str, identity: str | None = None) -> RemoteItem:
    """The item of a URL in a list."""
    return RemoteItem(path_id(identity if identity is not None else url), url)


def open_remote(url: str) -> io.BufferedReader:
    """A file on a network, to be read on; whatever goes wrong there is an `OSError`."""
    fs, path = filesystem(url)
    try:
        return io.BufferedReader(_RemoteFile(fs.open(path, "rb")))
    except Exception as error:  # whatever a filesystem raises
        raise OSError(network_reason(error)) from error


class _RemoteFile(io.RawIOBase):
    """A file of fsspec whose errors are all of one kind."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except Exception as error:  # whatever a filesystem raises
            raise OSError(network_reason(error)) from error
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        self._file.close()
        super().close()


@lru_cache(maxsize=64)
def _instance(protocol: str) -> Any:
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError("remote", f"reading {protocol}:// URLs") from error
    try:
        return fsspec.filesystem(protocol)
    except ImportError as error:
        raise MissingExtraError("remote", f"reading {protocol}:// URLs ({error})") from error
    except ValueError as error:
        raise SourceError(f"no such protocol: {error}. Received: {protocol!r}") from error


def filesystem(url: str) -> tuple[Any, str]:
    """The filesystem of a URL, and its path there. Credentials come from the environment."""
    fs = _instance(url.partition("://")[0])
    return fs, fs._strip_protocol(url)


def stamp_of(info: dict[str, Any]) -> Stamp | None:
    """Size and time of modification in what a filesystem says of a file."""
    size = info.get("size")
    if size is None:
        return None
    time_value = next((info[key] for key in _TIME_KEYS if info.get(key) is not None), None)
    if isinstance(time_value, datetime):
        return Stamp(int(size), int(time_value.timestamp() * 1e9))
    if isinstance(time_value, (int, float)):
        return Stamp(int(size), int(time_value * 1e9))
    return Stamp(int(size), 0)


def network_reason(error: Exception) -> str:
    """What went wrong, on one line."""
    message = " ".join(str(error).split())
    if isinstance(error, FileNotFoundError):
        return "No such file"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
