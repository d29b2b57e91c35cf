"""What to learn from: a folder of photos for each class, or a table of paths and labels."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet_hub.errors import InputError, SourceError
from mobilenet_hub.evaluation.split_file import Side
from mobilenet_hub.pipeline.sources.columns import find_column, find_columns
from mobilenet_hub.pipeline.sources.folders import open_folder
from mobilenet_hub.pipeline.sources.items import BrokenItem, FileItem, Item, path_id
from mobilenet_hub.pipeline.sources.lists import named_item, table_rows
from mobilenet_hub.pipeline.sources.source import CSV_SUFFIXES, SourceOptions
from mobilenet_hub.retraining.records import Data

LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target")
FEW_PHOTOS = 10  # of a class; below, it is hardly learned and cannot be measured
_IMBALANCE = 10  # times as many photos as another class
_MAX_CLASSES = 100_000

# Names of folders that say which side their photos are on.
SIDE_FOLDERS: dict[str, Side] = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class DataOptions:
    """How a table is read.

    Attributes:
        path_column, label_column: found by their names where None.
        group_column: names what belongs together and is never split: an animal, a visit, a film.
        label_separator: between the labels of a photo that has several.
        root: folder that relative paths are relative to.
    """

    path_column: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    label_separator: str = "|"
    root: str | None = None


def read_data(source: str | os.PathLike[str], options: DataOptions | None = None) -> Data:
    """The photos that a user names, with their labels.

    Args:
        source: a folder with one folder a class, or with `train`, `val` and `test` folders of
            these; or a `.csv`, `.tsv` or `.parquet` table of paths and labels.
        options: how to read a table.

    Returns:
        All photos by id, the path from that folder or as the table has it; nothing is opened yet.

    Raises:
        SourceError: no such folder or table, or no classes or columns in it.
    """
    path, options = Path(source), options or DataOptions()
    if path.is_dir():
        if options.group_column or options.label_column or options.path_column:
            raise SourceError(
                f"columns are of a table (.csv, .tsv, .parquet). Received: the folder {str(path)!r}"
            )
        return _read_folder(path)
    if path.suffix.lower() in (*CSV_SUFFIXES, ".parquet"):
        return _read_table(path, options)
    raise SourceError(
        "expected a folder with one folder of photos a class, or a table of paths and labels "
        f"(.csv, .tsv, .parquet). Received: {str(path)!r}"
    )


def check_classes(data: Data) -> list[str]:
    """What is wrong with the classes, of photos that could be read.

    Returns:
        Warnings, a sentence each.

    Raises:
        InputError: fewer than two classes, or one that has no photos to learn from.
    """
    if len(data.labels) < 2 and not data.multi_label:
        raise InputError(
            "a classifier needs at least two classes; to tell one from everything else, add a "
            f"folder of other photos. Received: {', '.join(map(repr, data.labels)) or 'none'}"
        )
    train = np.ones(len(data.items), bool)
    if data.sides is not None:
        train = np.asarray(data.sides) == "train"
    counts = class_counts(data, train)
    empty = [label for label, count in zip(data.labels, counts, strict=True) if count == 0]
    if empty:
        raise InputError(
            "each class needs photos to learn from; add some, or remove the class. Received no "
            f"readable photo to train on of: {', '.join(map(repr, empty))}"
        )
    if data.multi_label and (everywhere := np.flatnonzero(counts == train.sum())).size:
        named = ", ".join(repr(data.labels[at]) for at in everywhere)
        raise InputError(f"a label that every photo has teaches nothing. Received: {named}")
    warnings = []
    few = [
        f"{label!r} ({count})"
        for label, count in zip(data.labels, counts.tolist(), strict=True)
        if count < FEW_PHOTOS
    ]
    if few:
        warnings.append(f"fewer than {FEW_PHOTOS} photos to learn from: {', '.join(few)}")
    most, least = int(counts.argmax()), int(counts.argmin())
    if counts[most] > _IMBALANCE * counts[least]:
        warnings.append(
            f"strong imbalance: {data.labels[most]!r} has {counts[most]:,} photos, "
            f"{data.labels[least]!r} {counts[least]:,}; --balance weighs classes alike"
        )
    return warnings


def class_counts(data: Data, rows: Any) -> Any:
    """How many photos of some rows (bool [photos]) each class has: int64 [classes]."""
    if data.multi_label:
        return data.targets[rows].sum(axis=0)
    return np.bincount(data.targets[rows], minlength=len(data.labels))


def _read_folder(root: Path) -> Data:
    folders = _class_folders(root)
    named = {name: SIDE_FOLDERS.get(name.lower()) for name in folders}
    if "train" not in named.values():
        return _collect(_photos(root, "", folders, None))
    strange = [name for name, side in named.items() if side is None]
    if strange:
        raise SourceError(
            "a folder has either train, val and test folders, or one folder a class, not both. "
            f"Received: train and {', '.join(map(repr, map(path_id, strange)))} in {str(root)!r}"
        )
    if len(set(named.values())) < len(named):
        raise SourceError(
            f"two folders name the same side. Received: {', '.join(folders)} in {str(root)!r}"
        )
    rows = [
        row
        for name, side in named.items()
        for row in _photos(root, f"{name}/", _class_folders(root / name), side)
    ]
    return _collect(rows)


def _class_folders(root: Path) -> list[str]:
    with os.scandir(root) as entries:
        names = [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
    if not names:
        raise SourceError(
            f"expected one folder of photos a class. Received: no folders in {str(root)!r}"
        )
    return sorted(names, key=os.fsencode)


@dataclass(frozen=True, slots=True)
class _Row:
    """A photo, or None where a class is only named; its labels, side and group."""

    item: Item | None
    labels: tuple[str, ...]
    side: Side | None = None
    group: str = ""


def _photos(root: Path, prefix: str, classes: Sequence[str], side: Side | None) -> Iterator[_Row]:
    """The photos of class folders; a class without any is named once, without a photo."""
    for name in classes:
        label = path_id(name)
        yield _Row(None, (label,), side)
        folder = str(root / (prefix + name))
        for item in open_folder(folder, SourceOptions()).items():
            inside = item.path[len(folder) :].lstrip("/")
            named: Item = FileItem(item.path, path_id(f"{prefix}{name}/{inside}"))
            if isinstance(item, BrokenItem):
                named = BrokenItem(named.id, item.path, item.stage, item.reason)
            yield _Row(named, (label,), side)


def _read_table(path: Path, options: DataOptions) -> Data:
    where = SourceOptions(root=options.root)
    rows: dict[str, _Row] = {}
    for name, labels, group in _table_rows(path, options):
        item = named_item(name, path_id(name), where, str(path))
        row = _Row(item, labels, None, group)
        if rows.setdefault(item.id, row) != row:
            raise SourceError(
                f"a photo is listed twice, with different labels or groups; several labels go into "
                f"one row, separated by {options.label_separator!r}. Received: {item.id!r} in "
                f"{str(path)!r}"
            )
    multi_label = any(len(row.labels) > 1 for row in rows.values())
    unlabelled = [name for name, row in rows.items() if not row.labels]
    if unlabelled and not multi_label:
        raise SourceError(f"a photo has no label. Received: {unlabelled[0]!r} in {str(path)!r}")
    return _collect(rows.values(), multi_label=multi_label)


def _table_rows(path: Path, options: DataOptions) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Path, labels and group of each row."""
    rows = _parquet_rows(path) if path.suffix.lower() == ".parquet" else _csv_rows(path)
    try:
        header = [str(name) for name in next(rows, [])]
        path_at = find_columns(header, SourceOptions(path_column=options.path_column), str(path))[0]
        label_at = _label_column(header, options.label_column, str(path))
        group_at = find_column(header, options.group_column, (), str(path))
        for number, row in enumerate(rows, 2):
            if not row:
                continue
            if len(row) != len(header) or not row[path_at]:
                raise SourceError(f"row {number} has no path or label. Received: {str(path)!r}")
            yield (
                str(row[path_at]),
                _labels(row[label_at], options.label_separator),
                "" if group_at is None or row[group_at] is None else str(row[group_at]),
            )
    except (csv.Error, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"not a readable table: {error}. Received: {str(path)!r}") from error


def _label_column(header: list[str], asked: str | None, table: str) -> int:
    found = find_column(header, asked, LABEL_COLUMNS, table)
    if found is None:
        raise SourceError(
            f"no column of {table} is named like labels ({', '.join(LABEL_COLUMNS)}); say which "
            f"one holds them with --label-column. Received: {', '.join(header)}"
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
        raise SourceError(f"not a readable table: {error}. Received: {str(path)!r}") from error


def _may_be_labels(kind: Any) -> bool:
    """Whether a column of an Arrow type is text, numbers or lists of these."""
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind) or types.is_dictionary(kind):
        return _may_be_labels(kind.value_type)
    wanted = (types.is_string, types.is_large_string, types.is_integer, types.is_floating,
              types.is_boolean)  # fmt: skip
    return any(is_of(kind) for is_of in wanted)


def _collect(rows: Iterable[_Row], *, multi_label: bool = False) -> Data:
    rows = list(rows)
    labels = tuple(sorted({label for row in rows for label in row.labels}))
    if len(labels) > _MAX_CLASSES:
        raise SourceError(f"expected at most {_MAX_CLASSES:,} classes. Received: {len(labels):,}")
    number = {label: at for at, label in enumerate(labels)}
    items = {row.item.id: row.item for row in rows if row.item is not None}
    photos = {row.item.id: row for row in rows if row.item is not None}
    ordered = [photos[name] for name in sorted(photos)]
    if multi_label:
        targets = np.zeros((len(ordered), len(labels)), bool)
        for at, row in enumerate(ordered):
            targets[at, [number[name] for name in row.labels]] = True
    else:
        targets = np.array([number[row.labels[0]] for row in ordered], np.int64)
    sides = tuple(row.side for row in ordered if row.side is not None)
    groups = tuple(row.group for row in ordered)
    return Data(
        labels,
        tuple(items[name] for name in sorted(items)),
        targets,
        sides or None,
        groups if any(groups) else None,
    )
