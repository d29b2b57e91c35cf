"""Parquet and Arrow tables: of images as bytes, or of paths."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

from mobilenet_hub.errors import SourceError
from mobilenet_hub.pipeline.sources.columns import (
    ID_COLUMNS,
    IMAGE_COLUMNS,
    find_column,
    find_columns,
)
from mobilenet_hub.pipeline.sources.items import BrokenItem, BytesItem, Item, path_id
from mobilenet_hub.pipeline.sources.lists import named_item
from mobilenet_hub.pipeline.sources.source import File, PassedOver, Source, SourceOptions

_IMAGE_ROWS = 16  # read at once; photos may be large
_PATH_ROWS = 4096
_MAX_COPY = 4 << 30  # bytes of a file on a server that does not give parts


def open_table(file: File, options: SourceOptions) -> Source:
    """A Parquet file, an Arrow IPC file or an Arrow stream.

    Raises:
        SourceError: not such a table, or without a column of images or paths.
    """
    import pyarrow

    try:
        with _in_any_order(file) as stream:
            _find(_Table(stream).schema, file.name, options)
    except (pyarrow.ArrowException, OSError) as error:
        raise SourceError(f"not a readable table: {error}. Received: {file.name!r}") from error

    def items(_: PassedOver) -> Iterator[Item]:
        row = 0
        try:
            with _in_any_order(file) as stream:
                table = _Table(stream)
                wanted = _find(table.schema, file.name, options)
                rows = _IMAGE_ROWS if wanted.is_image else _PATH_ROWS
                for batch in table.batches(wanted.columns, rows):
                    for values in zip(*(column.to_pylist() for column in batch), strict=True):
                        yield wanted.item(values, file.name, row, options)
                        row += 1
        except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
            # ValueError, OverflowError: text that is not UTF-8, a date that Python does not have
            yield BrokenItem(path_id(file.name), file.name, "list", f"after row {row}: {error}")

    def count() -> int | None:
        with _in_any_order(file) as stream:
            return _Table(stream).count()

    return Source(items, count)


@contextmanager
def _in_any_order(file: File) -> Iterator[BinaryIO]:
    """A file, which must be sought in; what can only be read on is copied to the disk."""
    with file.open() as stream:
        if stream.seekable():
            yield stream
            return
        with tempfile.TemporaryFile() as copy:
            while part := stream.read(1 << 20):
                if copy.tell() > _MAX_COPY:
                    raise OSError(
                        f"more than {_MAX_COPY:,} bytes that can only be read in one go: "
                        "download it first"
                    )
                copy.write(part)
            copy.seek(0)
            yield copy


class _Table:
    """One face for Parquet files, Arrow files and Arrow streams."""

    def __init__(self, file: Any) -> None:
        from pyarrow import ipc
        from pyarrow.parquet import ParquetFile

        head = file.read(8)
        file.seek(0)
        self._parquet: Any = None
        self._reader: Any = None
        if head.startswith(b"PAR1"):
            # Unbuffered, a whole column of a row group would be in memory at once.
            self._parquet = ParquetFile(file, buffer_size=1 << 20)
            self.schema = self._parquet.schema_arrow
        else:
            self._reader = (ipc.open_file if head.startswith(b"ARROW1") else ipc.open_stream)(file)
            self.schema = self._reader.schema

    def batches(self, columns: list[str], rows: int) -> Iterator[list[Any]]:
        """Columns of up to so many rows at a time."""
        for whole in self._record_batches(columns, rows):
            for start in range(0, whole.num_rows, rows):
                part = whole.slice(start, rows)
                yield [part.column(name) for name in columns]

    def count(self) -> int | None:
        """How many rows, where the file says so."""
        return self._parquet.metadata.num_rows if self._parquet is not None else None

    def _record_batches(self, columns: list[str], rows: int) -> Any:
        if self._parquet is not None:
            return self._parquet.iter_batches(rows, columns=columns, use_threads=False)
        if hasattr(self._reader, "get_batch"):
            return map(self._reader.get_batch, range(self._reader.num_record_batches))
        return self._reader


class _Wanted(NamedTuple):
    """Which columns are read, and how a row of them becomes an item."""

    columns: list[str]
    is_image: bool

    def item(self, values: tuple[Any, ...], table: str, row: int, options: SourceOptions) -> Item:
        """The item of a row; an empty cell is one that fails."""
        value: Any = values[0]
        path: Any = None
        if isinstance(value, dict):  # as Hugging Face's datasets keep images
            value, path = value.get("bytes"), value.get("path")
        where = f"{path_id(table)}#{row}"
        identity = where
        if len(values) == 2 and values[1] is not None:
            identity = path_id(_text(values[1]))
        elif path and self.is_image:
            identity = f"{path_id(table)}#{path_id(path)}"
        if value is None and path:
            return named_item(path, identity, options, table)
        if value is None:
            return BrokenItem(identity, where, "read", "an empty cell")
        if self.is_image:
            return BytesItem(identity, where, value)
        return named_item(_text(value), None if identity == where else identity, options, table)


def _text(value: Any) -> str:
    """A cell as a path or an id; bytes as `os.fsdecode` gives them."""
    return os.fsdecode(value) if isinstance(value, bytes) else str(value)


def _find(schema: Any, table: str, options: SourceOptions) -> _Wanted:
    """The columns of images, or of paths, and of ids.

    Raises:
        SourceError: none, or none whose name says what it is, or one of another kind.
    """
    columns, kinds = list(schema.names), list(schema.types)
    images = [name for name, kind in zip(columns, kinds, strict=True) if _holds_images(kind)]
    name = options.image_column
    if name is None and (options.path_column is not None or not images):
        at, id_at = find_columns(columns, options, table)
        if not _is_text(kinds[at]):
            raise SourceError(
                f"a column of images holds bytes, and one of paths holds text. Received: "
                f"{columns[at]!r}, {kinds[at]}, in {table}"
            )
        return _Wanted([columns[i] for i in (at, id_at) if i is not None], is_image=False)
    if name is None:
        usual = find_column(images, None, IMAGE_COLUMNS, table)
        if usual is None and len(images) > 1:
            raise SourceError(
                f"several columns of {table} hold bytes; say which one holds images with "
                f"--image-column. Received: {', '.join(images)}"
            )
        name = images[usual or 0]
    kind = kinds[find_column(columns, name, (), table) or 0]
    if not _holds_images(kind):
        raise SourceError(f"an image column holds bytes. Received: {kind} in {table}")
    others = [column for column in columns if column != name]
    id_at = find_column(others, options.id_column, (*ID_COLUMNS, "path", "file_name"), table)
    return _Wanted([name] if id_at is None else [name, others[id_at]], is_image=True)


def _holds_images(kind: Any) -> bool:
    """Bytes, in whichever of Arrow's forms, or a struct with a field of them."""
    from pyarrow import types

    if types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return bool(at >= 0 and _is_bytes(kind.field(at).type))
    return _is_bytes(kind)


def _is_bytes(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_bytes(kind.value_type)
    return bool(
        types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    )  # fmt: skip


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(
        types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
        or types.is_null(kind) or _is_bytes(kind)
    )  # fmt: skip
