"""Files that name files: one path a line, or a column of paths in a comma-separated table."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Callable, Iterator

from mobilenet_hub.errors import SourceError
from mobilenet_hub.pipeline.sources.columns import find_columns
from mobilenet_hub.pipeline.sources.items import (
    BrokenItem,
    FileItem,
    Item,
    path_id,
    reason,
)
from mobilenet_hub.pipeline.sources.remote_item import url_item
from mobilenet_hub.pipeline.sources.source import File, PassedOver, Source, SourceOptions

_MAX_FIELD = 1 << 24  # characters of a field of a comma-separated table, and of a line
_MAX_LINE = 1 << 16  # bytes; far above any path, so that a binary file is not taken into memory


def open_list(file: File, options: SourceOptions) -> Source:
    """A text file with one path a line, or with paths separated by NUL characters.

    Empty lines say nothing; a path that is not there will fail.
    """

    def items(_: PassedOver) -> Iterator[Item]:
        number = 0
        try:
            with file.open() as stream:
                for line in _lines(stream):
                    number += 1
                    if len(line) > _MAX_LINE:
                        raise OSError(f"longer than {_MAX_LINE:,} bytes: not a list of paths")
                    yield named_item(os.fsdecode(line), None, options, file.name)
        except OSError as error:
            where = f"near line {number}: {reason(error)}"
            yield BrokenItem(path_id(file.name), file.name, "list", where)

    return Source(items, lambda: _count_lines(file))


def _count_lines(file: File) -> int | None:
    if not file.local:
        return None
    with file.open() as stream:
        return sum(1 for _ in _lines(stream))


def _lines(stream: io.BufferedReader) -> Iterator[bytes]:
    """Lines that are not empty, without what ends them; ends after one that is too long."""
    read = _reader(stream)
    separator, rest = None, b""
    while chunk := read(1 << 16):
        rest += chunk
        if separator is None and (b"\0" in chunk or b"\n" in chunk):
            separator = b"\0" if b"\0" in chunk else b"\n"
        if separator is not None:
            *lines, rest = rest.split(separator)
            for line in lines:
                if line := _stripped(line, separator):
                    yield line
        if len(rest) > _MAX_LINE:
            break
    if rest := _stripped(rest, separator or b"\n"):
        yield rest


def _reader(stream: io.BufferedReader) -> Callable[[int], bytes]:
    """Reads a text without its byte order mark; UTF-16 comes as bytes of a path."""
    head = stream.peek(3)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = io.TextIOWrapper(stream, "utf-16", errors="replace", newline="")
        return lambda size: os.fsencode(text.read(size))
    if head.startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
    return stream.read1  # what a pipe has so far, where `read` would wait for all of it


def _stripped(line: bytes, separator: bytes) -> bytes:
    return line.removesuffix(b"\r") if separator == b"\n" else line


def open_csv(file: File, options: SourceOptions) -> Source:
    """A comma- or tab-separated table with a header and a column of paths.

    Raises:
        SourceError: there is no such column, or its header cannot be read.
        OSError: the file cannot be read.
    """

    def items(_: PassedOver) -> Iterator[Item]:
        number = 1
        try:
            with file.open() as stream:
                rows = table_rows(stream, file.name)
                at, id_at = find_columns(next(rows, []), options, file.name)
                last = max(at, -1 if id_at is None else id_at)
                for number, row in enumerate(rows, 2):
                    if not row:
                        continue
                    if len(row) <= last or not row[at]:
                        where = f"{path_id(file.name)}#{number}"
                        yield BrokenItem(where, file.name, "list", f"row {number} has no path")
                        continue
                    identity = None if id_at is None else row[id_at]
                    yield named_item(row[at], identity, options, file.name)
        except (csv.Error, OSError) as error:
            where = f"after row {number}: {reason(error)}"
            yield BrokenItem(path_id(file.name), file.name, "list", where)

    def count() -> int | None:
        lines = _count_lines(file)
        return None if lines is None else max(0, lines - 1)

    with file.open() as stream:
        try:
            find_columns(next(table_rows(stream, file.name), []), options, file.name)
        except csv.Error as error:
            raise SourceError(f"not a readable table: {error}. Received: {file.name!r}") from error
    return Source(items, count)


def table_rows(stream: io.BufferedReader, name: str) -> Iterator[list[str]]:
    """The rows of a comma- or tab-separated table, the header among them, without trust.

    Raises:
        csv.Error: a line too long, or what is no table.
    """
    utf16 = stream.peek(2).startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    # surrogateescape: paths that are not UTF-8 come through as `os.fsdecode` gives them
    text = io.TextIOWrapper(
        stream, "utf-16" if utf16 else "utf-8-sig",
        errors="replace" if utf16 else "surrogateescape", newline="",
    )  # fmt: skip
    # Of the whole process, and by default too small for a thumbnail in a column: only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_FIELD))
    delimiter = "\t" if name.lower().endswith(".tsv") else ","
    return csv.reader(_short_lines(text), delimiter=delimiter)


def _short_lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Lines as they come; one that is too long is an error before it fills memory."""
    while line := text.readline(_MAX_FIELD):
        if len(line) == _MAX_FIELD:
            raise csv.Error(f"a line of more than {_MAX_FIELD:,} characters")
        yield line


def named_item(path: str, identity: str | None, options: SourceOptions, table: str) -> Item:
    """The item of a path or URL in a list or table.

    A relative path is one below `options.root`; without that, one from the current folder, or,
    where there is no such file, one beside the list.
    """
    if "://" not in path:
        path = _place(path, options.root, table)
    if "://" in path:
        return url_item(path, identity)
    return FileItem(path, None if identity is None else path_id(identity))


def _place(path: str, root: str | None, table: str) -> str:
    if root is not None:
        return _joined(root, path)
    if os.path.lexists(path):
        return path
    beside = _joined(table.rpartition("/")[0], path)
    return beside if "://" in beside or os.path.lexists(beside) else path


def _joined(folder: str, path: str) -> str:
    # Not `os.path.join` for URLs, nor `Path`, which would make one slash of two.
    return f"{folder.rstrip('/')}/{path}" if "://" in folder else os.path.join(folder, path)  # noqa: PTH118
