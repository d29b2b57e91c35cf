"""Items on a network, through fsspec (extra `[remote]`): `s3://`, `gs://`, `az://`, `http(s)://`.

A folder is listed in the order of its names, a folder at a time. Reading is waiting, so the
pipeline reads many such items at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar
from urllib.parse import urlsplit

from mobilenet_hub.errors import ItemError, MissingExtraError, SourceError
from mobilenet_hub.pipeline.sources.items import BrokenItem, Item, Stamp, path_id, refuse_size
from mobilenet_hub.pipeline.sources.open import IMAGE_SUFFIXES, Source, SourceOptions

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
            fs, path = _filesystem(self.path)
            return _stamp(fs.info(path))
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
                reason = _reason(error)
                if isinstance(error, _GONE) or attempt == _ATTEMPTS:
                    raise ItemError("read", reason) from error
                time.sleep(_PAUSE_SECONDS * 4 ** (attempt - 1))
        raise AssertionError("unreachable")

    def _read(self, max_bytes: int) -> tuple[bytes, Stamp]:
        fs, path = _filesystem(self.path)
        stamp = self.known or _stamp(fs.info(path))
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


def open_url(url: str, options: SourceOptions) -> Source:
    """A file, folder or glob on a network; lists, archives and tables too.

    Raises:
        SourceError: it does not exist.
        MissingExtraError: the protocol's client is not installed.
    """
    fs, path = _filesystem(url)
    name = urlsplit(url).path.lower()
    web = urlsplit(url).scheme in ("http", "https")
    if not web and any(c in path for c in "*?["):
        return _open_glob(fs, path, url)
    image = Source(lambda: iter((url_item(url),)), lambda: 1, distinct=True)
    if name.endswith(IMAGE_SUFFIXES):  # reading it will say whether it is there
        return image
    if not web and _is_folder(fs, path, url):
        return Source(lambda: _walk(fs, path, options), lambda: None, distinct=True)
    if name.endswith((".txt", ".lst", ".list")):
        from mobilenet_hub.pipeline.sources import lists

        return _streamed(fs, path, lambda file: lists.text_items(file, options, url))
    if name.endswith((".parquet", ".arrow", ".feather", ".ipc")):
        from mobilenet_hub.pipeline.sources import tables

        return tables.open_columns(lambda: fs.open(path, "rb"), url, options)
    if name.endswith(".tar"):
        from mobilenet_hub.pipeline.sources import tar_items as archives

        return _streamed(fs, path, lambda file: archives.stream_items(file, url, options))
    return image


def _streamed(fs: Any, path: str, read: Any) -> Source:
    def items() -> Iterator[Item]:
        with fs.open(path, "rb") as file:
            yield from read(file)

    return Source(items, lambda: None)


def _open_glob(fs: Any, pattern: str, url: str) -> Source:
    def found() -> list[tuple[str, dict[str, Any]]]:
        return sorted(fs.glob(pattern, detail=True).items())

    if not found():
        raise SourceError(f"nothing matches the pattern. Received: {url!r}")
    return Source(
        lambda: (_listed(fs, path, entry) for path, entry in found()), lambda: len(found())
    )


def _listed(fs: Any, path: str, entry: dict[str, Any]) -> RemoteItem:
    """The item of a file that a listing told of."""
    url = fs.unstrip_protocol(path)
    return RemoteItem(path_id(url), url, _stamp(entry))


def _walk(fs: Any, folder: str, options: SourceOptions) -> Iterator[Item]:
    try:
        entries = fs.ls(folder, detail=True)
    except Exception as error:  # whatever a filesystem raises
        url = fs.unstrip_protocol(folder)
        yield BrokenItem(path_id(url), url, "list", _reason(error))
        return
    for entry in sorted(entries, key=lambda entry: entry["name"]):
        path = entry["name"]
        if path.rstrip("/") == folder.rstrip("/"):
            continue  # some stores list a folder as a part of itself
        if entry["type"] == "directory":
            yield from _walk(fs, path, options)
        elif options.all_files or path.lower().endswith(IMAGE_SUFFIXES):
            yield _listed(fs, path, entry)


def _is_folder(fs: Any, path: str, url: str) -> bool:
    try:
        return bool(fs.info(path)["type"] == "directory")
    except FileNotFoundError as error:
        raise SourceError(f"no such file or folder. Received: {url!r}") from error
    except Exception as error:  # whatever a filesystem raises
        raise SourceError(f"cannot be reached: {_reason(error)}. Received: {url!r}") from error


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


def _filesystem(url: str) -> tuple[Any, str]:
    """The filesystem of a URL, and its path there. Credentials come from the environment."""
    fs = _instance(url.partition("://")[0])
    return fs, fs._strip_protocol(url)


def _stamp(info: dict[str, Any]) -> Stamp | None:
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


def _reason(error: Exception) -> str:
    message = " ".join(str(error).split())
    if isinstance(error, FileNotFoundError):
        return "No such file"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
