"""What to learn from: a folder of photos for each class, or a table of paths and labels."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet_hub.errors import InputError, SourceError
from mobilenet_hub.evaluation.split_file import Side
from mobilenet_hub.evaluation.tables import DataOptions, is_table, read_table
from mobilenet_hub.pipeline.sources.folders import open_folder
from mobilenet_hub.pipeline.sources.items import BrokenItem, FileItem, Item, path_id
from mobilenet_hub.pipeline.sources.source import SourceOptions
from mobilenet_hub.retraining.records import Data

FEW_PHOTOS = 10  # of a class; below, it is hardly learned and cannot be measured
_IMBALANCE = 10  # times as many photos as another class
_MAX_CLASSES = 100_000

# Names of folders that say which side their photos are on.
SIDE_FOLDERS: dict[str, Side] = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


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
    if is_table(path):
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
    rows = read_table(path, options)
    multi_label = any(len(row.labels) > 1 for row in rows)
    unlabelled = [row.item.id for row in rows if not row.labels]
    if unlabelled and not multi_label:
        raise SourceError(f"a photo has no label. Received: {unlabelled[0]!r} in {str(path)!r}")
    found = [_Row(row.item, row.labels, None, row.group) for row in rows]
    return _collect(found, multi_label=multi_label)


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
