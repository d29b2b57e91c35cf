"""Where items come from: a word of a user's command becomes a stream of items.

`open_sources` looks at each word once and says what it is; the readers of the kinds of source are
in `lists.py` (files that name files), `archives.py` (tar), `tables.py` (images inside tables) and
`remote.py`. All are lazy, in an order that depends on nothing but names, and turn what they cannot
read into an item that fails, so that nothing is lost without a word.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from mobilenet_hub import tar
from mobilenet_hub.errors import SourceError
from mobilenet_hub.images.limits import Data
from mobilenet_hub.pipeline.sources.items import BrokenItem, BytesItem, FileItem, Item, path_id

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff",
)  # fmt: skip
_TEXT_LISTS = (".txt", ".lst", ".list")
_TABLES = (".csv", ".tsv", ".parquet", ".arrow", ".feather", ".ipc")
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")

_Above = tuple[tuple[int, int], ...]  # device and inode of each folder entered
SourceLike = str | PathLike[str] | Iterable[Any]


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How sources are read.

    Attributes:
        all_files: take every file of a folder or archive, not only those named like images.
        follow_links: enter folders that are symbolic links.
        root: folder that relative paths in lists are relative to; the current one by default.
        path_column: of tables that name files; found by its name where None.
        image_column: of tables that hold images; found by its name or type where None.
        id_column: of tables; found by its name where None, else the path or row number.
    """

    all_files: bool = False
    follow_links: bool = False
    root: str | None = None
    path_column: str | None = None
    image_column: str | None = None
    id_column: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Items, as many times as they are asked for (standard input: once).

    Attributes:
        items: starts a pass over the items.
        count: how many there are, or None where only a full pass could tell; may take a while.
        distinct: whether no id can come twice.
    """

    items: Callable[[], Iterator[Item]]
    count: Callable[[], int | None]
    distinct: bool = False


def open_sources(source: SourceLike, options: SourceOptions | None = None) -> Source:
    """What a user named, as one source.

    Args:
        source: one of, or several of: a folder (searched to any depth for files named like
            images); an image file; a glob; a list of paths (`.txt`, or `.csv`, `.parquet` with a
            path column); a tar archive; a table with an image column (`.parquet`, `.arrow`); `-`
            for standard input (paths, one a line or NUL-separated; a tar archive; or one image);
            an URL of any of these. In Python also `(id, bytes)` pairs and items.
        options: how to read them.

    Raises:
        SourceError: a word that names nothing. Files named inside lists or iterables that do not
            exist become failures instead.
    """
    options = options or SourceOptions()
    if isinstance(source, (str, PathLike)):
        return _open_word(os.fspath(source), options)
    if isinstance(source, (bytes, bytearray)):
        raise SourceError("bytes need an id: pass [(id, bytes)]. Received: bytes")
    if not isinstance(source, Sequence):
        return Source(lambda: _each(source, options), lambda: None)
    return Source(lambda: _each(source, options), lambda: _count_each(source, options))


def open_words(words: Sequence[str], options: SourceOptions | None = None) -> Source:
    """What a command line names: every word must name something.

    Raises:
        SourceError: one does not.
    """
    sources = [_open_word(word, options or SourceOptions()) for word in words]
    if len(sources) == 1:
        return sources[0]

    def items() -> Iterator[Item]:
        for source in sources:
            yield from source.items()

    return Source(
        items,
        lambda: _total(source.count() for source in sources),
    )


def _each(values: Iterable[Any], options: SourceOptions) -> Iterator[Item]:
    """Items of the elements of an iterable; what does not exist fails when it is read."""
    for value in values:
        if isinstance(value, (str, PathLike)):
            word = os.fspath(value)
            try:
                source = _open_word(word, options)
            except SourceError:
                yield FileItem(word)
            else:
                yield from source.items()
        elif isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], Data):
            name = str(value[0])
            yield BytesItem(path_id(name), name, bytes(value[1]))
        elif hasattr(value, "id") and hasattr(value, "read"):
            yield value
        else:
            raise SourceError(
                "a source is made of paths, (id, bytes) pairs and items. "
                f"Received: {type(value).__name__}"
            )


def _count_each(values: Sequence[Any], options: SourceOptions) -> int | None:
    def counts() -> Iterator[int | None]:
        for value in values:
            if isinstance(value, (str, PathLike)):
                try:
                    yield _open_word(os.fspath(value), options).count()
                except SourceError:
                    yield 1
            else:
                yield 1

    return _total(counts())


def _total(counts: Iterable[int | None]) -> int | None:
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def _open_word(word: str, options: SourceOptions) -> Source:
    if word == "-":
        return _open_stream(sys.stdin.buffer, options)
    if "://" in word:
        from mobilenet_hub.pipeline.sources import remote

        return remote.open_url(word, options)
    if os.path.isdir(word):  # noqa: PTH112 - this runs for each of a million listed paths
        return _open_folder(_tidy(word), options)
    if os.path.lexists(word):
        return open_file(_tidy(word), options)
    if glob.has_magic(word):
        return _open_glob(word, options)
    raise SourceError(f"no such file or folder, and not a glob. Received: {word!r}")


def open_file(path: str, options: SourceOptions) -> Source:
    """A local file: an image, or by its name a list, archive or table."""
    name = path.lower()
    if name.endswith(_TEXT_LISTS):
        from mobilenet_hub.pipeline.sources import lists

        return lists.open_text(path, options)
    if name.endswith(_TABLES):
        from mobilenet_hub.pipeline.sources import tables

        return tables.open_table(path, options)
    if name.endswith(_ARCHIVES):
        from mobilenet_hub.pipeline.sources import tar_items as archives

        return archives.open_archive(path, options)
    return Source(lambda: iter((FileItem(path),)), lambda: 1, distinct=True)


def _open_stream(stream: Any, options: SourceOptions) -> Source:
    """Standard input; what it is, its first bytes tell."""
    from mobilenet_hub.pipeline.sources import lists
    from mobilenet_hub.pipeline.sources import tar_items as archives

    head = stream.peek(512)
    if tar.is_tar(head):
        return Source(lambda: archives.stream_items(stream, "stdin", options), lambda: None)
    if is_image(head):
        return Source(
            lambda: iter((BytesItem("stdin", "<stdin>", stream.read()),)), lambda: 1, distinct=True
        )
    return Source(lambda: lists.text_items(stream, options), lambda: None)


def is_image(head: bytes) -> bool:
    """Whether a file that begins so is an image."""
    from mobilenet_hub.images import formats, jpeg

    return head.startswith(jpeg.SIGNATURE) or formats.recognise(head[:12]) is not None


def _open_glob(pattern: str, options: SourceOptions) -> Source:
    def paths() -> list[str]:
        found = glob.glob(pattern, recursive=True, include_hidden=True)  # noqa: PTH207
        return sorted(found, key=os.fsencode)

    if not paths():
        raise SourceError(f"nothing matches the pattern. Received: {pattern!r}")
    return Source(lambda: _each(paths(), options), lambda: _count_each(paths(), options))


def _open_folder(root: str, options: SourceOptions) -> Source:
    return Source(
        lambda: _walk(root, options, ()),
        lambda: _count(root, options, ()),
        distinct=True,
    )


def _tidy(path: str) -> str:
    """`./photos//` is `photos`; `..` stays, it may mean something after a symbolic link."""
    return str(Path(path))


def _walk(folder: str, options: SourceOptions, above: _Above) -> Iterator[Item]:
    """Files of a folder and those below it, by the bytes of their names."""
    try:
        # Names only: a million directory entries would fill memory.
        names, above = _listing(folder, options, above)
    except OSError as error:
        yield BrokenItem(path_id(folder), folder, "list", error.strerror or str(error))
        return
    prefix = _prefix(folder)
    for name in names:
        if name.endswith("/"):
            yield from _walk(prefix + name[:-1], options, above)
        else:
            yield FileItem(prefix + name)


def _prefix(folder: str) -> str:
    """What to put before the names in a folder."""
    if folder == ".":
        return ""
    return folder if folder.endswith(os.sep) else folder + os.sep


def _listing(folder: str, options: SourceOptions, above: _Above) -> tuple[list[str], _Above]:
    """Sorted names of a folder, those of folders with `/` at the end; and the folders entered."""
    above = _enter(folder, above) if options.follow_links else above
    with os.scandir(folder) as entries:
        names = [
            f"{entry.name}/" if entry.is_dir(follow_symlinks=options.follow_links) else entry.name
            for entry in entries
            if options.all_files
            or entry.name.lower().endswith(IMAGE_SUFFIXES)
            or entry.is_dir(follow_symlinks=options.follow_links)
        ]
    names.sort(key=os.fsencode)
    return names, above


def _enter(folder: str, above: _Above) -> _Above:
    """Remember a folder; one that contains itself through a link is an error."""
    status = os.stat(folder)  # noqa: PTH116
    key = (status.st_dev, status.st_ino)
    if key in above:
        raise OSError("a symbolic link leads back to a folder above it")
    return (*above, key)


def _count(folder: str, options: SourceOptions, above: _Above) -> int:
    """How many items `_walk` yields."""
    try:
        names, above = _listing(folder, options, above)
    except OSError:
        return 1
    prefix = _prefix(folder)
    return sum(
        _count(prefix + name[:-1], options, above) if name.endswith("/") else 1 for name in names
    )
