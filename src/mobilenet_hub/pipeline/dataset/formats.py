"""Embeddings in a single file, and reading embeddings back from whatever holds them.

A file is made of a dataset that was written beside it (see `single_file`); so it appears whole or
not at all, and its size is bounded by the disk, not by memory.

    features.parquet   the columns of the dataset
    features.npy       float array [rows, num_features]; ids in features.ids.txt, one a line
    features.csv       id, then one column for each feature (e0, e1, ...), then the other columns
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mobilenet_hub.errors import DatasetError, InputError
from mobilenet_hub.files import atomic_file
from mobilenet_hub.pipeline.dataset.manifest import FOLDER
from mobilenet_hub.pipeline.dataset.parquet import (
    parquet_file,
    part_names,
    read_parts,
    stamp_of,
)
from mobilenet_hub.pipeline.results import Outcome
from mobilenet_hub.pipeline.sources.items import Stamp

Stamps = list[Stamp]  # of the files an output consists of

SUFFIXES = (".parquet", ".npy", ".csv")
_BATCH_ROWS = 1024

# Who asks for one of these means a file, and must not be given a folder of that name.
_OTHER_FORMATS = frozenset((
    ".arrow", ".avro", ".bin", ".db", ".feather", ".gz", ".h5", ".hdf5", ".ipc", ".json",
    ".jsonl", ".mat", ".npz", ".orc", ".pickle", ".pkl", ".pq", ".pt", ".pth", ".safetensors",
    ".sqlite", ".tar", ".tfrecord", ".tsv", ".txt", ".xls", ".xlsx", ".xml", ".yaml", ".zarr",
    ".zip", ".zst",
))  # fmt: skip


def format_of(path: Path) -> str | None:
    """The one of the `SUFFIXES` a path ends with, in capitals or not; None if with none."""
    suffix = path.suffix.lower()
    return suffix if suffix in SUFFIXES else None


def is_single(path: Path) -> bool:
    """Whether an output is one file, by its suffix; else it is a folder.

    Raises:
        InputError: it is named like a file of another format, or means standard output.
    """
    if str(path) == "-":
        raise InputError(
            "the output must be a file or a folder: an interrupted run goes on from what is there. "
            "Received: '-', standard output"
        )
    suffix = path.suffix.lower()
    if suffix in _OTHER_FORMATS and not path.is_dir():
        raise InputError(
            f"the output must be a folder, or a file in {', '.join(SUFFIXES)} (a folder of "
            f"that name is taken if it is there already). Received: {str(path)!r}"
        )
    return suffix in SUFFIXES


def files_of(path: Path) -> list[Path]:
    """What an output consists of: the file, and the ids of a `.npy`."""
    return [path, ids_path(path)] if format_of(path) == ".npy" else [path]


def stamps_of(path: Path) -> Stamps | None:
    """The stamps of what an output consists of; None where any of it is missing."""
    try:
        return [Stamp.of(file.stat()) for file in files_of(path)]
    except FileNotFoundError:
        return None


def ids_path(path: Path) -> Path:
    """Where the ids of a `.npy` file are."""
    return path.with_suffix(".ids.txt")


def errors_path(path: Path) -> Path:
    """Where the failures of a run that wrote a file are listed unless told otherwise."""
    return path.with_name(f"{path.name}.errors.jsonl")


def write_failures(path: Path, outcomes: Iterable[Outcome]) -> None:
    """List failed items: id, stage and reason of each.

    Args:
        path: `.parquet`, or `.jsonl` with one object a line.
        outcomes: of those that failed.

    Raises:
        OSError: it cannot be written.
    """
    lines = ({"id": o.id, "stage": o.stage, "reason": o.reason} for o in outcomes)
    if path.suffix.lower() == ".parquet":
        import pyarrow as pa

        schema = pa.schema([(name, pa.string()) for name in ("id", "stage", "reason")])
        with parquet_file(path, schema) as append:
            while batch := list(itertools.islice(lines, _BATCH_ROWS)):
                append(pa.RecordBatch.from_pylist(batch, schema))
        return
    with atomic_file(path) as file:
        for line in lines:
            file.write(f"{json.dumps(line, ensure_ascii=False)}\n".encode())


def write_rows(
    path: Path, schema: Any, batches: Iterable[Any], rows: int, *, ready: Callable[[Stamps], None]
) -> None:
    """Write a file; whatever was there is replaced when it is whole.

    Args:
        path: with one of the `SUFFIXES`.
        schema: of the rows.
        batches: Arrow record batches.
        rows: how many rows they have in all.
        ready: called with the stamps of all that is new, just before it takes its place.

    Raises:
        OSError: it cannot be written.
    """
    kind = format_of(path)
    if kind == ".parquet":
        with parquet_file(path, schema, ready=lambda stamp: ready([stamp])) as append:
            for batch in batches:
                append(batch)
    elif kind == ".csv":
        with atomic_file(path) as file:
            _write_csv(file, schema, batches)
            ready([stamp_of(file)])
    else:
        with atomic_file(ids_path(path)) as ids, atomic_file(path) as file:
            _write_npy(file, ids, schema, batches, rows)
            # Killed between the two renamings, neither the old stamps fit nor the new ones: the
            # next run makes both files anew.
            ready([stamp_of(file), stamp_of(ids)])


def _write_npy(
    file: BinaryIO, ids: BinaryIO, schema: Any, batches: Iterable[Any], rows: int
) -> None:
    kind = schema.field("embedding").type
    dtype = np.dtype(kind.value_type.to_pandas_dtype())
    header = {"descr": dtype.str, "fortran_order": False, "shape": (rows, kind.list_size)}
    np.lib.format.write_array_header_1_0(file, header)
    for batch in batches:
        file.write(embeddings(batch).tobytes())
        # ids hold no line breaks: see `items.path_id`
        ids.write("".join(f"{identity}\n" for identity in batch.column("id").to_pylist()).encode())


def _write_csv(file: BinaryIO, schema: Any, batches: Iterable[Any]) -> None:
    import pyarrow as pa
    from pyarrow.csv import CSVWriter

    flat = flat_schema(schema)
    with CSVWriter(file, flat) as writer:
        for batch in batches:
            columns: list[Any] = []
            for name in schema.names:
                column = batch.column(name)
                if pa.types.is_fixed_size_list(column.type):
                    values, width = column.flatten(), column.type.list_size
                    if pa.types.is_float16(values.type):
                        values = values.cast(pa.float32())
                    places = np.arange(batch.num_rows) * width
                    columns += [values.take(pa.array(places + at)) for at in range(width)]
                else:
                    columns.append(column)
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=flat))


# Columns that hold several values, and what their names in a CSV file begin with.
_STEMS = {"embedding": "e", "labels": "label", "label_indices": "label_index", "scores": "score"}


def flat_schema(schema: Any) -> Any:
    """One column for each value of a fixed-size list."""
    import pyarrow as pa

    fields = []
    for field in schema:
        if pa.types.is_fixed_size_list(field.type):
            kind = field.type.value_type
            kind = pa.float32() if pa.types.is_float16(kind) else kind
            stem = _STEMS[field.name]
            fields += [pa.field(f"{stem}{at}", kind) for at in range(field.type.list_size)]
        else:
            fields.append(field)
    return pa.schema(fields)


def read_rows(path: Path, columns: list[str] | None = None) -> Iterator[Any]:
    """Arrow record batches of a dataset's folder, or of a `.parquet` or `.npy` file.

    Args:
        path: of the folder or file.
        columns: which to read, in this order; all by default. `.npy` has `id` and `embedding`.

    Raises:
        DatasetError: it is none of these, or cannot be read.
    """
    import pyarrow as pa

    try:
        batches = _read(path, columns)
        first = next(batches, None)
        if first is None:
            return
        missing = {*(columns or ("id", "embedding"))} - {*first.schema.names}
        if missing:
            raise ValueError(f"no column {', '.join(sorted(missing))}")
        yield from itertools.chain((first,), batches)
    except (pa.ArrowException, KeyError, FileNotFoundError, ValueError) as error:
        raise DatasetError(
            "expected a dataset of embeddings (.parquet, .npy, or a folder of Parquet files), as "
            "`mobilenet-hub embed PHOTOS --output DATASET` writes it: "
            f"{str(error).rstrip('.')}. Received: {str(path)!r}"
        ) from error


def parts_of(folder: Path) -> list[Path]:
    """The Parquet files of a dataset: of one of ours, its parts; else all in the folder."""
    if (folder / FOLDER).is_dir():
        return [name.file(folder) for name in part_names(folder)]
    return sorted(folder.glob("*.parquet"))


def _read(path: Path, columns: list[str] | None) -> Iterator[Any]:
    kind = format_of(path)
    if path.is_dir():
        parts = parts_of(path)
        if not parts:
            raise FileNotFoundError("no Parquet files in the folder")
        return read_parts(parts, columns)
    if kind == ".npy":
        return _read_npy(path, columns)
    if kind == ".csv":
        raise ValueError("a .csv file is not read back; write .parquet")
    return read_parts([path], columns)


def _read_npy(path: Path, columns: list[str] | None) -> Iterator[Any]:
    import pyarrow as pa

    values = np.load(path, mmap_mode="r", allow_pickle=False)
    if values.ndim != 2:
        raise ValueError(f"an array of shape {values.shape}, not [rows, features]")
    with ids_path(path).open(encoding="utf-8", newline="\n") as ids:
        for start in range(0, len(values), _BATCH_ROWS):
            part = np.ascontiguousarray(values[start : start + _BATCH_ROWS])
            names = [line[:-1] for line in itertools.islice(ids, len(part))]
            flat = pa.array(part.reshape(-1))
            batch = pa.RecordBatch.from_arrays(
                [
                    pa.array(names, pa.string()),
                    pa.FixedSizeListArray.from_arrays(flat, part.shape[1]),
                ],
                ["id", "embedding"],
            )
            yield batch if columns is None else batch.select(columns)


def embeddings(batch: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """The embeddings of a record batch: float32 or float16 [rows, features]."""
    column = batch.column("embedding")
    values = column.flatten()
    matrix: np.ndarray[Any, np.dtype[Any]] = values.to_numpy(zero_copy_only=False)
    return matrix.reshape(batch.num_rows, column.type.list_size)
