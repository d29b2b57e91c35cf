"""Folders, globs and files on a network, listed and opened through fsspec.

A folder is listed in the order of its names, a folder at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from mobilenet_hub.errors import NetworkError, SourceError
from mobilenet_hub.pipeline.sources.items import BrokenItem, Item, path_id
from mobilenet_hub.pipeline.sources.readers import reader_for
from mobilenet_hub.pipeline.sources.remote_item import (
    RemoteItem,
    call,
    filesystem,
    is_web,
    open_remote,
    stamp_of,
    url_item,
)
from mobilenet_hub.pipeline.sources.source import (
    IMAGE_SUFFIXES,
    File,
    PassedOver,
    Source,
    SourceOptions,
    is_wanted,
    single,
)


def open_url(url: str, options: SourceOptions) -> Source:
    """A file, folder or glob on a network; lists, archives and tables too.

    Raises:
        SourceError: it does not exist.
        MissingExtraError: the protocol's client is not installed.
    """
    if not is_web(url):
        fs, path = filesystem(url)
        if any(c in path for c in "*?["):
            return _open_glob(fs, path, url)
        name = path
    else:
        try:
            name = urlsplit(url).path
        except ValueError as error:
            raise SourceError(f"not a URL: {error}. Received: {url!r}") from error
    image = single(url_item(url))
    if name.lower().endswith(IMAGE_SUFFIXES):  # reading it will say whether it is there
        return image
    if not is_web(url) and _is_folder(fs, path, url):
        return Source(partial(_walk, fs, path, options), distinct=True)
    reader = reader_for(name)
    if reader is None:
        return image
    try:
        return reader(File(url, lambda: open_remote(url)), options)
    except OSError as error:
        raise SourceError(f"cannot be read: {error}. Received: {url!r}") from error


def _open_glob(fs: Any, pattern: str, url: str) -> Source:
    def found() -> list[tuple[str, dict[str, Any]]]:
        return sorted(call(fs, "glob", pattern, detail=True).items())

    if not found():
        raise SourceError(f"nothing matches the pattern. Received: {url!r}")
    return Source(
        lambda _: (_listed(fs, path, entry) for path, entry in found()), lambda: len(found())
    )


def _listed(fs: Any, path: str, entry: dict[str, Any]) -> RemoteItem:
    """The item of a file that a listing told of."""
    url = fs.unstrip_protocol(path)
    return RemoteItem(path_id(url), url, stamp_of(entry))


def _walk(fs: Any, root: str, options: SourceOptions, passed_over: PassedOver) -> Iterator[Item]:
    folders = [iter([{"name": root, "type": "directory"}])]
    while folders:
        entry = next(folders[-1], None)
        if entry is None:
            folders.pop()
        elif entry["type"] == "directory":
            try:
                folders.append(iter(_entries(fs, entry["name"])))
            except NetworkError as error:
                url = fs.unstrip_protocol(entry["name"])
                yield BrokenItem(path_id(url), url, "list", str(error))
        elif is_wanted(entry["name"], options, passed_over):
            yield _listed(fs, entry["name"], entry)


def _entries(fs: Any, folder: str) -> list[dict[str, Any]]:
    """What is in a folder, by name; with all that is below it, where `//` is in a key below it.

    (Such a key is in a folder without a name, which can be seen but not entered.)
    """
    entries = call(fs, "ls", folder, detail=True)
    nameless = [e for e in entries if e["name"].rstrip("/") == folder.rstrip("/")]
    if any(entry["type"] == "directory" for entry in nameless):
        found = call(fs, "find", folder, detail=True)
        entries = [entry for entry in found.values() if entry["type"] == "file"]
    # Some stores list a folder as a part of itself.
    entries = [entry for entry in entries if not entry["name"].endswith("/")]
    return sorted((e for e in entries if e not in nameless), key=lambda entry: str(entry["name"]))


def _is_folder(fs: Any, path: str, url: str) -> bool:
    try:
        return bool(call(fs, "info", path, timeouts=1)["type"] == "directory")
    except NetworkError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise SourceError(f"no such file or folder. Received: {url!r}") from error
        raise SourceError(f"cannot be reached: {error}. Received: {url!r}") from error
