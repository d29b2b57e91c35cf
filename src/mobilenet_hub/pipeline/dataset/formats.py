"""Embeddings in a single file, and reading embeddings back from whatever holds them.

A file is made of a dataset that was written beside it (see `packing`); so it appears whole or not
at all, and its size is bounded by the disk, not by memory.

    features.parquet   the columns of the dataset
    features.npy       float array [rows, num_features]; ids in features.ids.txt, one a line
    features.csv       id, then one column for each feature (e0, e1, ...), then the other columns
    features.lance     a Lance dataset (needs `pylance`)
"""

from __future__ import annotations

import csv as python_csv
import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mobilenet_hub.errors import DatasetError, MissingExtraError
from mobilenet_hub.files import atomic_file
from mobilenet_hub.pipeline.dataset.manifest import FOLDER, Entry
from mobilenet_hub.pipeline.dataset.parquet import parquet_file, read_parts, stamp_of
from mobilenet_hub.pipeline.sources.items import Stamp

Stamps = list[Stamp]  # of the files an output consists of

SUFFIXES = (".parquet", ".npy", ".csv", ".lance")
_BATCH_ROWS = 1024
_CSV_BLOCK = 1 << 24  # bytes; a row of 1,792 numbers is about 20,000


def format_of(path: Path) -> str | None:
    """The one of the `SUFFIXES` a path ends with, in capitals or not; None if with none."""
    suffix = path.suffix.lower()
    return suffix if suffix in SUFFIXES else None


def files_of(path: Path) -> list[Path]:
    """What an output consists of: the file, and the ids of a `.npy`."""
    return [path, ids_path(path)] if format_of(path) == ".npy" else [path]


def stamps_of(path: Path) -> Stamps | None:
    """The stamps of what an output consists of; None where any of it is missing."""
    try:
        return [_stamp(file) for file in files_of(path)]
    except FileNotFoundError:
        return None


def _stamp(path: Path) -> Stamp:
    if path.is_dir():  # Lance: of all its files together
        found = [file.stat() for file in path.rglob("*") if file.is_file()]
        times = [status.st_mtime_ns for status in found]
        return Stamp(sum(status.st_size for status in found), max(times, default=0))
    return Stamp.of(path.stat())


def ids_path(path: Path) -> Path:
    """Where the ids of a `.npy` file are."""
    return path.with_suffix(".ids.txt")


def errors_path(path: Path) -> Path:
    """Where the failures of a run that wrote a file are listed unless told otherwise."""
    return path.with_name(f"{path.name}.errors.jsonl")


def write_failures(path: Path, entries: Iterable[Entry]) -> None:
    """List failed items: id, stage and reason of each.

    Args:
        path: `.parquet`, or `.jsonl` with one object a line.
        entries: those that failed.

    Raises:
        OSError: it cannot be written.
    """
    if path.suffix.lower() == ".parquet":
        import pyarrow as pa

        schema = pa.schema([(name, pa.string()) for name in ("id", "stage", "reason")])
        with parquet_file(path, schema) as append:
            for entry in entries:
                values = [pa.array([v]) for v in (entry.id, entry.stage, entry.reason)]
                append(pa.RecordBatch.from_arrays(values, schema=schema))
        return
    with atomic_file(path) as file:
        for entry in entries:
            line = {"id": entry.id, "stage": entry.stage, "reason": entry.reason}
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
        MissingExtraError: Lance is not installed.
    """
    kind = format_of(path)
    if kind == ".lance":
        _write_lance(path, schema, batches, ready)
    elif kind == ".parquet":
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

    flat = _flat_schema(schema)
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


def _flat_schema(schema: Any) -> Any:
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


def _write_lance(
    path: Path, schema: Any, batches: Iterable[Any], ready: Callable[[Stamps], None]
) -> None:
    import pyarrow as pa

    lance = require_lance()
    temporary, old = (path.with_name(f".{path.name}.{word}") for word in ("new", "old"))
    for leftover in (temporary, old):
        shutil.rmtree(leftover, ignore_errors=True)
    if "labels" in schema.names:  # Lance cannot write lists of strings that are all of one length
        at = schema.get_field_index("labels")
        schema = schema.set(at, pa.field("labels", pa.list_(pa.string())))
    try:
        reader = pa.RecordBatchReader.from_batches(schema, (b.cast(schema) for b in batches))
        lance.write_dataset(reader, str(temporary))
        ready([_stamp(temporary)])
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def require_lance() -> Any:
    """The `lance` package.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import lance
    except ImportError as error:
        raise MissingExtraError("lance", "writing or reading .lance") from error
    return lance


def read_rows(path: Path, columns: list[str] | None = None) -> Iterator[Any]:
    """Arrow record batches of a dataset's folder or of a file that `write_rows` wrote.

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
            f"expected a dataset of embeddings ({', '.join(SUFFIXES)}, or a folder of Parquet "
            f"files): {error}. Received: {str(path)!r}"
        ) from error


def parts_of(folder: Path) -> list[Path]:
    """The Parquet files of a dataset: of one of ours, its parts; else all in the folder."""
    ours = (folder / FOLDER).is_dir()
    return sorted(folder.glob("part-*.parquet" if ours else "*.parquet"))


def _read(path: Path, columns: list[str] | None) -> Iterator[Any]:
    kind = format_of(path)
    if kind == ".lance":
        return iter(
            require_lance().dataset(str(path)).to_batches(columns=columns, batch_size=_BATCH_ROWS)
        )
    if path.is_dir():
        parts = parts_of(path)
        if not parts:
            raise FileNotFoundError("no Parquet files in the folder")
        return read_parts(parts, columns)
    if kind == ".npy":
        return _read_npy(path, columns)
    if kind == ".csv":
        return _read_csv(path, columns)
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


def _read_csv(path: Path, columns: list[str] | None) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import csv

    with path.open(encoding="utf-8", newline="") as file:
        header = next(python_csv.reader(file), [])
    kinds = {"embedding": pa.float32(), "scores": pa.float32(), "label_indices": pa.int32()}
    lists = {
        name: [column for column in header if re.fullmatch(rf"{stem}\d+", column)]
        for name, stem in _STEMS.items()
    }
    if "id" not in header or not lists["embedding"]:
        raise ValueError("a CSV file without the columns id, e0, e1, ...")
    types = {c: kinds.get(name, pa.string()) for name, made_of in lists.items() for c in made_of}
    reader = csv.open_csv(
        path,
        read_options=csv.ReadOptions(block_size=_CSV_BLOCK),
        convert_options=csv.ConvertOptions(column_types={**types, "id": pa.string()}),
    )
    for batch in reader:
        made = {name: batch.column(name) for name in header if name not in types}
        for name, made_of in lists.items():
            if made_of:
                matrix = np.stack([batch.column(c).to_numpy(zero_copy_only=False) for c in made_of])
                flat = pa.array(matrix.T.reshape(-1), types[made_of[0]])
                made[name] = pa.FixedSizeListArray.from_arrays(flat, len(made_of))
        whole = pa.RecordBatch.from_pydict(made)
        yield whole if columns is None else whole.select(columns)


def embeddings(batch: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """The embeddings of a record batch: float32 or float16 [rows, features]."""
    column = batch.column("embedding")
    values = column.flatten()
    matrix: np.ndarray[Any, np.dtype[Any]] = values.to_numpy(zero_copy_only=False)
    return matrix.reshape(batch.num_rows, column.type.list_size)
