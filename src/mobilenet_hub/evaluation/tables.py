"""Tables of photos and labels (`.csv`, `.tsv`, `.parquet`): what is learned from or measured on.

```
path,label
1.jpg,red|round
2.jpg,red
```

A photo with several labels has them in one cell, or in a list in a Parquet column.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenet_hub.errors import InputError, SourceError
from mobilenet_hub.evaluation.folders import ClassNames
from mobilenet_hub.pipeline.sources.columns import find_column, find_columns, listed
from mobilenet_hub.pipeline.sources.items import Item, path_id
from mobilenet_hub.pipeline.sources.lists import named_item, table_rows
from mobilenet_hub.pipeline.sources.source import CSV_SUFFIXES, SourceOptions

LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target")


@dataclass(frozen=True, slots=True)
class DataOptions:
    """How a table is read.

    Attributes:
        path_column, label_column: found by their names where None.
        group_column: names what belongs together and is never split: an animal, a visit, a film.
        label_separator: between the labels of a photo that has several.
        root: folder that relative paths are relative to.
        id_column: names the photos; their paths do where None.
    """

    path_column: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    label_separator: str = "|"
    root: str | None = None
    id_column: str | None = None


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """A photo, its labels, and what it belongs with ("" for nothing)."""

    item: Item
    labels: tuple[str, ...]
    group: str = ""


class ClassTable:
    """The photos of a table, as those of `folders.ClassFolders`.

    Args:
        path: of the table.
        labels: the classes, which the table names as `folders.ClassNames` knows them.
        options: how it is read.
        several: whether the classifier gives a photo any number of labels, and not one.

    Raises:
        SourceError: as `read_table`.
    """

    def __init__(
        self, path: Path, labels: Sequence[str], options: DataOptions, *, several: bool
    ) -> None:
        self.passed_over = Counter[str]()  # no file is
        self._names = ClassNames(labels)
        self._rows = read_table(path, options)
        self._several = several
        self._path = path

    def check(self) -> None:
        """Look at all labels before anything is computed.

        Raises:
            InputError: labels that name no class; several, or none, where the classifier gives one.
        """
        names = {label for row in self._rows for label in row.labels}
        if unknown := sorted(name for name in names if self._names.number(name) is None):
            raise InputError(self._names.unknown(unknown, "labels"))
        wrong = () if self._several else (row for row in self._rows if len(row.labels) != 1)
        if (row := next(iter(wrong), None)) is not None:
            raise InputError(
                "this classifier gives a photo one label, and so must the table. "
                f"Received: {len(row.labels)} of {row.item.id!r} in {str(self._path)!r}"
            )

    def items(self) -> Iterator[tuple[Item, tuple[int, ...]]]:
        """Each photo and its classes."""
        for row in self._rows:
            found = (self._names.number(label) for label in row.labels)
            yield row.item, tuple(number for number in found if number is not None)


def is_table(path: Path) -> bool:
    """Whether a file is a table by its name."""
    return path.suffix.lower() in (*CSV_SUFFIXES, ".parquet")


def has_labels(path: Path, options: DataOptions) -> bool:
    """Whether a table has a column of labels, and does not only name photos.

    Raises:
        SourceError: it lacks the column that the options name, or is no readable table.
        OSError: it cannot be read.
    """
    try:
        header = [str(name) for name in next(_cells(path), [])]
    except (csv.Error, ValueError) as error:
        raise _unreadable(path, error) from error
    return find_column(header, options.label_column, LABEL_COLUMNS, str(path)) is not None


def read_table(path: Path, options: DataOptions) -> list[LabelledRow]:
    """The photos in a table, each once; nothing of them is opened yet.

    Raises:
        SourceError: no such columns, no readable table, or a photo that is there twice, unequal.
        OSError: it cannot be read.
    """
    rows: dict[str, LabelledRow] = {}
    for row in _rows(path, options):
        if rows.setdefault(row.item.id, row) != row:
            raise SourceError(
                f"a photo is listed twice, with different labels or groups; several labels go into "
                f"one row, separated by {options.label_separator!r}. Received: {row.item.id!r} in "
                f"{str(path)!r}"
            )
    return list(rows.values())


def _rows(path: Path, options: DataOptions) -> Iterator[LabelledRow]:
    rows = _cells(path)
    where = SourceOptions(root=options.root)
    try:
        header = [str(name) for name in next(rows, [])]
        path_at = find_columns(header, SourceOptions(path_column=options.path_column), str(path))[0]
        id_at = find_column(header, options.id_column, (), str(path))
        label_at = _label_column(header, options.label_column, str(path))
        group_at = find_column(header, options.group_column, (), str(path))
        for number, row in enumerate(rows, 2):
            if not row:
                continue
            if len(row) != len(header) or not row[path_at]:
                raise SourceError(f"row {number} has no path or label. Received: {str(path)!r}")
            name = str(row[path_at])
            identity = path_id(name if id_at is None else str(row[id_at]))
            yield LabelledRow(
                named_item(name, identity, where, str(path)),
                _labels(row[label_at], options.label_separator),
                "" if group_at is None or row[group_at] is None else str(row[group_at]),
            )
    except (csv.Error, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> Exception:
    if isinstance(error, SourceError):
        return error
    return SourceError(f"not a readable table: {error}. Received: {str(path)!r}")


def _label_column(header: list[str], asked: str | None, table: str) -> int:
    found = find_column(header, asked, LABEL_COLUMNS, table)
    if found is None:
        raise SourceError(
            f"no column of {table} is named like labels ({', '.join(LABEL_COLUMNS)}); say which "
            f"one holds them with --label-column. Received: {listed(header)}"
        )
    return found


def _labels(cell: Any, separator: str) -> tuple[str, ...]:
    """The labels of a cell: each once, as it may be shown."""
    if cell is None:
        parts: list[str] = []
    elif isinstance(cell, list):
        parts = [str(part) for part in cell]
    else:
        parts = str(cell).split(separator)
    return tuple(dict.fromkeys(path_id(part.strip()) for part in parts if part.strip()))


def _cells(path: Path) -> Iterator[list[Any]]:
    """The header, then the rows."""
    return _parquet_rows(path) if path.suffix.lower() == ".parquet" else _csv_rows(path)


def _csv_rows(path: Path) -> Iterator[list[Any]]:
    with path.open("rb") as stream:
        yield from table_rows(stream, path.name)


def _parquet_rows(path: Path) -> Iterator[list[Any]]:
    """The header, then the rows, of the columns that are text, numbers or lists of these.

    Others are never read: images in a column would fill memory.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, buffer_size=1 << 20) as file:
            names = [field.name for field in file.schema_arrow if _may_be_labels(field.type)]
            yield names
            for batch in file.iter_batches(4096, columns=names, use_threads=False):
                yield from map(list, zip(*(c.to_pylist() for c in batch.columns), strict=True))
    except pa.ArrowException as error:
        raise _unreadable(path, error) from error


def _may_be_labels(kind: Any) -> bool:
    """Whether a column of an Arrow type is text, numbers or lists of these."""
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind) or types.is_dictionary(kind):
        return _may_be_labels(kind.value_type)
    wanted = (types.is_string, types.is_large_string, types.is_integer, types.is_floating,
              types.is_boolean)  # fmt: skip
    return any(is_of(kind) for is_of in wanted)
