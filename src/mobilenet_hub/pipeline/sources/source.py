"""What a source is, and how sources are read; the words that every reader shares."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from mobilenet_hub.pipeline.sources.items import Item

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff",
)  # fmt: skip
LIST_SUFFIXES = (".txt", ".lst", ".list")
CSV_SUFFIXES = (".csv", ".tsv")
TABLE_SUFFIXES = (".parquet", ".arrow", ".feather", ".ipc")
ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


SourceLike = str | PathLike[str] | Iterable[Any]
PassedOver = Counter[str]  # how many files of each suffix were left out


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
        start: starts a pass over the items; counts, in what it is given, the files of each suffix
            that it leaves out because they are not named like images.
        count: how many there are, or None where only a full pass could tell; may take a while.
        distinct: whether no id can come twice.
        passed_over: what the last pass of `items` left out.
    """

    start: Callable[[PassedOver], Iterator[Item]]
    count: Callable[[], int | None] = lambda: None
    distinct: bool = False
    passed_over: PassedOver = field(default_factory=Counter)

    def items(self) -> Iterator[Item]:
        """The items, once."""
        self.passed_over.clear()
        return self.start(self.passed_over)


def single(item: Item) -> Source:
    """The source of one item."""
    return Source(lambda _: iter((item,)), lambda: 1, distinct=True)


def is_wanted(name: str, options: SourceOptions, passed_over: PassedOver) -> bool:
    """Whether a file of a folder or archive is taken; if not, it is counted by its suffix.

    (Hidden files are not worth a word.)
    """
    if options.all_files or name.lower().endswith(IMAGE_SUFFIXES):
        return True
    base = name.rpartition("/")[2]
    if not base.startswith("."):
        passed_over[os.path.splitext(base)[1].lower()] += 1  # noqa: PTH122 - may hold any bytes
    return False


@dataclass(frozen=True, slots=True)
class File:
    """A file out of which a reader makes items, wherever it lies.

    Attributes:
        name: its path or URL.
        open: opens it at its beginning, as often as it is called (standard input: once). Whatever
            goes wrong while it is read is an `OSError`.
        local: whether `name` is the path of a file on this machine, so that parts of it can be
            read later and in any order.
    """

    name: str
    open: Callable[[], io.BufferedReader]
    local: bool = False


def local_file(path: str) -> File:
    """A file on this machine."""
    return File(path, lambda: Path(path).open("rb"), local=True)
