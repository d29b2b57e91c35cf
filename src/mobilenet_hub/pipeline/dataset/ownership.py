"""Whose a file is, told by what it holds: only what this library wrote is ever written over."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet_hub.errors import DatasetError, InputError
from mobilenet_hub.files import parse_json
from mobilenet_hub.pipeline.dataset.formats import files_of, flat_schema, format_of
from mobilenet_hub.pipeline.dataset.parquet import METADATA_KEY, read_schema

FAILURE_COLUMNS = ("id", "stage", "reason")


def is_output(path: Path, schema: Any) -> bool:
    """Whether a file is an output with such rows, of this run or another.

    Args:
        path: with a suffix of `formats.SUFFIXES`; it exists.
        schema: of the rows.
    """
    kind = format_of(path)
    try:
        if kind == ".parquet":
            found = read_schema(path)
            return bool(found.names == schema.names and METADATA_KEY in (found.metadata or {}))
        if kind == ".npy":
            values = np.load(path, mmap_mode="r", allow_pickle=False)
            width = schema.field("embedding").type.list_size
            return bool(values.ndim == 2 and values.shape[1] == width)
        with path.open(encoding="utf-8", newline="") as file:
            return bool(next(csv.reader(file), None) == flat_schema(schema).names)
    except (DatasetError, ValueError, EOFError, csv.Error):
        return False


def refuse_other_output(path: Path, schema: Any) -> None:
    """Refuse to write over an output that is not ours.

    Raises:
        InputError: the file is something else; or ids lie there without their `.npy`.
    """
    there = [file for file in files_of(path) if file.exists()]
    if there and not (path in there and is_output(path, schema)):
        raise InputError(
            "what is at the output now was not written by this command; choose another, or "
            f"replace it with --restart. Received: {str(path)!r}"
        )


def refuse_other_errors(path: Path) -> None:
    """Refuse to list failures over a file that is no such list.

    Raises:
        InputError: the file is something else.
    """
    if path.exists() and not _lists_failures(path):
        raise InputError(
            "the file for the list of failures holds something else; choose another with --errors. "
            f"Received: {str(path)!r}"
        )


def _lists_failures(path: Path) -> bool:
    try:
        if path.suffix.lower() == ".parquet":
            return tuple(read_schema(path).names) == FAILURE_COLUMNS
        with path.open(encoding="utf-8") as file:
            line = file.readline(1 << 20)
        return not line or tuple(parse_json(line)) == FAILURE_COLUMNS
    except (DatasetError, ValueError, TypeError, IsADirectoryError):
        return False
