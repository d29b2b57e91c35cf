"""What a user names becomes a stream of items.

`open_sources` looks at each word once and says what it is: a folder, a glob, a URL, standard input,
or a file, which `readers` knows by its name. All readers are lazy, in an order that depends on
nothing but names, and turn what they cannot read into an item that fails, so that nothing is lost
without a word.
"""

from __future__ import annotations

import glob
import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any, cast

from mobilenet_hub.errors import ImageError, SourceError
from mobilenet_hub.images import formats
from mobilenet_hub.images.limits import Data
from mobilenet_hub.pipeline.sources import folders, readers, remote
from mobilenet_hub.pipeline.sources.items import (
    BrokenItem,
    BytesItem,
    FileItem,
    Item,
    path_id,
    reason,
)
from mobilenet_hub.pipeline.sources.source import (
    IMAGE_SUFFIXES,
    PassedOver,
    Source,
    SourceLike,
    SourceOptions,
    local_file,
    single,
)


def open_sources(source: SourceLike, options: SourceOptions | None = None) -> Source:
    """What a user named, as one source.

    Args:
        source: one of, or several of: a folder (searched to any depth for files named like
            images); an image file; a glob; a list of paths (`.txt`, or `.csv`, `.parquet` with a
            path column); a tar archive; a table with an image column (`.parquet`, `.arrow`); `-`
            for standard input (paths, one a line or NUL-separated; a tar archive; or one image);
            an URL of any of these. In Python also pictures (of Pillow, or uint8 arrays [height,
            width, 3]; their ids are their numbers, from 0), `(id, bytes)` and `(id, picture)`
            pairs, and items.
        options: how to read them.

    Raises:
        SourceError: a word that names nothing. Files named inside lists or iterables that do not
            exist become failures instead.
    """
    options = options or SourceOptions()
    if isinstance(source, (str, PathLike)):
        return _open_word(os.fspath(source), options)
    if formats.is_picture(source):
        source = [source]
    if isinstance(source, (bytes, bytearray)):
        raise SourceError("bytes need an id: pass [(id, bytes)]. Received: bytes")
    count = (lambda: _count(source, options)) if isinstance(source, Sequence) else lambda: None
    return Source(lambda passed_over: _each(source, options, passed_over), count)


def open_words(words: Sequence[str], options: SourceOptions | None = None) -> Source:
    """What a command line names: every word must name something.

    Raises:
        SourceError: one does not.
    """
    sources = [_open_word(word, options or SourceOptions()) for word in words]
    if len(sources) == 1:
        return sources[0]
    return Source(
        lambda passed_over: chain.from_iterable(source.start(passed_over) for source in sources),
        lambda: _total(source.count() for source in sources),
    )


def _each(values: Iterable[Any], options: SourceOptions, passed_over: PassedOver) -> Iterator[Item]:
    """Items of the elements of an iterable; what does not exist fails when it is read."""
    for number, value in enumerate(values):
        if isinstance(value, (str, PathLike)):
            word = os.fspath(value)
            try:
                source = _open_word(word, options)
            except (SourceError, OSError) as error:
                if "://" in word or os.path.lexists(word):
                    yield BrokenItem(path_id(word), word, "list", reason(error))
                else:
                    yield FileItem(word)
            else:
                yield from source.start(passed_over)
        elif isinstance(value, tuple) and len(value) == 2 and _is_image(value[1]):
            yield _item_of(str(value[0]), value[1])
        elif formats.is_picture(value):
            yield _item_of(str(number), value)
        elif hasattr(value, "id") and hasattr(value, "read"):
            yield value
        else:
            raise SourceError(
                "a source is made of paths, pictures, (id, bytes or picture) pairs and items. "
                f"Received: {type(value).__name__}"
            )


def _is_image(value: Any) -> bool:
    return isinstance(value, Data) or formats.is_picture(value)


def _item_of(name: str, image: Any) -> Item:
    """The item of an image in memory."""
    identity = path_id(name)
    try:
        data = formats.to_file(image, name) if formats.is_picture(image) else bytes(image)
    except ImageError as error:
        return BrokenItem(identity, name, "decode", error.reason)
    return BytesItem(identity, name, data)


def _count(values: Iterable[Any], options: SourceOptions) -> int | None:
    """How many items the elements of an iterable are, as far as anything tells."""

    def of(value: Any) -> int | None:
        if isinstance(value, (str, PathLike)):
            with suppress(SourceError, OSError):
                return _open_word(os.fspath(value), options).count()
        return 1

    return _total(map(of, values))


def _total(counts: Iterable[int | None]) -> int | None:
    """The sum; None as soon as one is not known."""
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def _open_word(word: str, options: SourceOptions) -> Source:
    if word == "-":
        if sys.stdin is None:
            raise SourceError("standard input is closed. Received: '-'")
        return readers.open_stream(cast(io.BufferedReader, sys.stdin.buffer), "stdin", options)
    if "://" in word:
        return remote.open_url(word, options)
    # `./photos//` is `photos`; `..` stays, it may mean something after a symbolic link.
    if os.path.isdir(word):  # noqa: PTH112 - this runs for each of a million listed paths
        return folders.open_folder(str(Path(word)), options)
    if os.path.lexists(word):
        return _open_file(str(Path(word)), options)
    if glob.has_magic(word):
        return _open_glob(word, options)
    raise SourceError(f"no such file or folder, and not a glob. Received: {word!r}")


def _open_file(path: str, options: SourceOptions) -> Source:
    """A local file: an image, or by its name a list, archive or table."""
    reader = readers.reader_for(path)
    if reader is not None:
        return reader(local_file(path), options)
    if not path.lower().endswith(IMAGE_SUFFIXES) and Path(path).is_fifo():
        # `<(find ...)` of a shell: it can be read once, as standard input.
        return readers.open_stream(Path(path).open("rb"), path, options)
    return single(FileItem(path))


def _open_glob(pattern: str, options: SourceOptions) -> Source:
    if not folders.glob_paths(pattern):
        raise SourceError(f"nothing matches the pattern. Received: {pattern!r}")
    return Source(
        lambda passed_over: _each(folders.glob_paths(pattern), options, passed_over),
        lambda: _count(folders.glob_paths(pattern), options),
    )
