"""Files that name files: one path a line, or a column of a table."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from mobilenet_hub.errors import SourceError
from mobilenet_hub.pipeline.sources.items import BrokenItem, FileItem, Item, NamedItem, path_id
from mobilenet_hub.pipeline.sources.open import Source, SourceOptions

# Names that people give to a column of paths, most telling first.
PATH_COLUMNS = (
    "path", "file_path", "filepath", "image_path", "file_name", "filename", "file", "image", "url",
    "uri", "image_url",
)  # fmt: skip
ID_COLUMNS = ("id", "image_id", "key", "__key__")
_MAX_LINE = 1 << 16  # bytes; far above any path, so that a binary file is not taken into memory


def open_text(path: str, options: SourceOptions) -> Source:
    """A text file with one path a line, or with paths separated by NUL characters."""

    def items() -> Iterator[Item]:
        with Path(path).open("rb") as file:
            yield from text_items(file, options, path)

    def count() -> int:
        with Path(path).open("rb") as file:
            return sum(1 for _ in _lines(file))

    return Source(items, count)


def text_items(
    stream: io.BufferedIOBase | BinaryIO, options: SourceOptions, name: str = "stdin"
) -> Iterator[Item]:
    """Items of a stream of paths. Empty lines say nothing; a path that is not there will fail."""
    number = 0
    for number, line in enumerate(_lines(stream), 1):
        if len(line) > _MAX_LINE:
            reason = f"line {number} is longer than {_MAX_LINE:,} bytes: not a list of paths"
            yield BrokenItem(path_id(name), name, "list", reason)
            return
        yield named_item(os.fsdecode(line), None, options)


def _lines(stream: io.BufferedIOBase | BinaryIO) -> Iterator[bytes]:
    """Lines that are not empty, without what ends them; ends after one that is too long."""
    # read1 returns what a pipe has so far, where read would wait for all of it.
    read = getattr(stream, "read1", stream.read)
    separator, rest = None, b""
    while chunk := read(1 << 16):
        if separator is None:
            separator = b"\0" if b"\0" in chunk else b"\n"
        *lines, rest = (rest + chunk).split(separator)
        for line in lines:
            if line := _stripped(line, separator):
                yield line
        if len(rest) > _MAX_LINE:
            break
    if rest := _stripped(rest, separator or b"\n"):
        yield rest


def _stripped(line: bytes, separator: bytes) -> bytes:
    return line.removesuffix(b"\r") if separator == b"\n" else line


def open_csv(path: str, options: SourceOptions) -> Source:
    """A comma- or tab-separated table with a header and a column of paths."""
    delimiter = "\t" if path.lower().endswith(".tsv") else ","

    def items() -> Iterator[Item]:
        # surrogateescape: paths that are not UTF-8 come through as `os.fsdecode` gives them
        with Path(path).open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = csv.reader(file, delimiter=delimiter)
            header = next(rows, [])
            at, id_at = find_columns(header, options, path)
            number = 1
            try:
                for number, row in enumerate(rows, 2):
                    if not row:
                        continue
                    if len(row) <= max(at, id_at if id_at is not None else 0) or not row[at]:
                        where = f"{path_id(path)}#{number}"
                        yield BrokenItem(where, path, "list", f"row {number} has no path")
                        continue
                    yield named_item(row[at], row[id_at] if id_at is not None else None, options)
            except csv.Error as error:
                yield BrokenItem(path_id(path), path, "list", f"after row {number}: {error}")

    def count() -> int:
        with Path(path).open("rb") as file:
            return max(0, sum(1 for _ in _lines(file)) - 1)

    with Path(path).open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        find_columns(next(csv.reader(file, delimiter=delimiter), []), options, path)
    return Source(items, count)


def find_columns(
    header: Iterable[str], options: SourceOptions, table: str
) -> tuple[int, int | None]:
    """Where the column of paths is, and the column of ids if there is one.

    Raises:
        SourceError: there is no column of that name, or none whose name says what it is.
    """
    columns = list(header)
    lower = [column.strip().lower() for column in columns]
    if options.path_column is not None:
        path_at = find_column(columns, options.path_column, table)
    else:
        found = [lower.index(name) for name in PATH_COLUMNS if name in lower]
        if not found and len(columns) > 1:
            raise SourceError(
                f"no column of {table} is named like paths ({', '.join(PATH_COLUMNS)}); say which "
                f"one holds them with --path-column. Received: {', '.join(columns)}"
            )
        if not columns:
            raise SourceError(f"expected a table with a header. Received: {table!r}, empty")
        if not found:
            raise SourceError(
                f"expected a header such as `path` in the first row of {table}. "
                f"Received: {columns[0]!r}"
            )
        path_at = found[0]
    if options.id_column is not None:
        return path_at, find_column(columns, options.id_column, table)
    ids = [lower.index(name) for name in ID_COLUMNS if name in lower]
    return path_at, ids[0] if ids and ids[0] != path_at else None


def find_column(columns: list[str], name: str, table: str) -> int:
    """Where a column is.

    Raises:
        SourceError: there is none of that name.
    """
    if name not in columns:
        raise SourceError(
            f"{table} has no column {name!r}; it has {', '.join(columns)}. Received: {name!r}"
        )
    return columns.index(name)


def named_item(path: str, identity: str | None, options: SourceOptions) -> Item:
    """The item of a path or URL in a list."""
    if "://" in path:
        from mobilenet_hub.pipeline.sources import remote

        return remote.url_item(path, identity)
    if options.root is not None:
        path = str(Path(options.root, path))
    return FileItem(path) if identity is None else NamedItem(path_id(identity), path)
