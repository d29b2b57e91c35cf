"""What the rest of the room reads of a dataset: ids and unit vectors, and how they were made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import DatasetError
from mobilenet_hub.files import parse_json
from mobilenet_hub.pipeline.dataset import formats, single_file
from mobilenet_hub.pipeline.dataset.manifest import Manifest
from mobilenet_hub.pipeline.dataset.parquet import METADATA_KEY, read_schema
from mobilenet_hub.pipeline.outputs import l2_normalized
from mobilenet_hub.pipeline.perceptual_hash import BYTES, as_unit_vectors
from mobilenet_hub.settings import Settings

HASHES = "perceptual_hash"  # a column of a dataset


def unit_rows(
    dataset: Path, column: str = "embedding"
) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
    """The rows of a dataset in batches, each as a vector of length 1.

    Rows without an embedding are left out: some tools write failures so. Embeddings may be lists of
    any kind and of any numbers, ids strings or numbers.

    Args:
        dataset: a folder or file.
        column: `embedding`, or `HASHES`.

    Yields:
        ids, and float32 [rows, features].

    Raises:
        DatasetError: it is not a dataset of embeddings, they are not all of one length, or a row
            has no id.
    """
    import pyarrow as pa

    features: int | None = None
    for batch in formats.read_rows(dataset, ["id", column]):
        rows = batch.filter(batch.column(column).is_valid())
        if rows.num_rows == 0:
            continue
        try:
            ids = rows.column("id").cast(pa.string())
            values = rows.column(column)
            hashed = column == HASHES
            vectors = _hash_vectors(values.to_pylist()) if hashed else _matrix(values)
        except (pa.ArrowException, ValueError) as error:
            raise DatasetError(
                f"expected embeddings that are lists of numbers: {error}. "
                f"Received: {str(dataset)!r}"
            ) from error
        features = features or vectors.shape[1]
        if vectors.shape[1] != features or not np.isfinite(vectors).all() or ids.null_count:
            raise DatasetError(
                f"expected an id and a finite embedding of {features} numbers in each row. "
                f"Received: {str(dataset)!r}, with {vectors.shape[1]} numbers, not finite, or "
                "without id"
            )
        yield ids.to_pylist(), l2_normalized(vectors)


def column_names(dataset: Path) -> list[str]:
    """The columns of a dataset; none where it is not Parquet, or not there."""
    part = _first_part(dataset)
    return list(read_schema(part).names) if part is not None and part.exists() else []


def _first_part(dataset: Path) -> Path | None:
    """The Parquet file that tells what the columns of a dataset are; None where there is none."""
    if dataset.is_dir():
        return next(iter(formats.parts_of(dataset)), None)
    return dataset if formats.format_of(dataset) == ".parquet" else None


def _hash_vectors(hashes: list[Any]) -> NDArray[np.float32]:
    """Hexadecimal hashes as vectors.

    Raises:
        ValueError: they are none.
    """
    data = [bytes.fromhex(str(digits)) for digits in hashes]
    if any(len(value) != BYTES for value in data):
        raise ValueError(f"hashes of other than {BYTES} bytes")
    return as_unit_vectors(data)


def _matrix(column: Any) -> NDArray[np.float32]:
    """Lists without nulls as float32 [rows, features].

    Raises:
        ValueError, ArrowException: they are no lists of numbers, or not of one length.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if not (
        pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    ):
        raise ValueError(f"the column has the type {kind}")
    lengths = pc.list_value_length(column).unique().to_pylist()
    if len(lengths) > 1 or lengths == [0]:
        raise ValueError(f"lists of {sorted(lengths)[0]} and of {sorted(lengths)[-1]} numbers")
    values = column.flatten().to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "fiu":
        raise ValueError(f"the column has the type {kind}")
    matrix: NDArray[np.float32] = values.astype(np.float32, copy=False).reshape(len(column), -1)
    return matrix


def checked_note(made: Any) -> dict[str, Any]:
    """What says how rows were made, if it does.

    Raises:
        ValueError: it does not.
    """
    try:
        Settings.from_dict(made)
        return {**made, "handle": str(made["handle"]), "weights_sha256": made["weights_sha256"]}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"its note of how it was made is damaged: {error}") from error


def how_made(dataset: Path) -> dict[str, Any] | None:
    """The settings that a dataset was made with, or None where nothing tells."""
    if not dataset.is_dir() and formats.format_of(dataset) != ".parquet":
        if not single_file.packed_parts(dataset):
            return None  # not the file whose settings are noted beside it
        return Manifest(single_file.work_folder(dataset)).read_settings()
    try:
        part = _first_part(dataset)
        text = None if part is None else (read_schema(part).metadata or {}).get(METADATA_KEY)
        return None if text is None else checked_note(parse_json(text))
    except DatasetError:
        raise
    except (FileNotFoundError, ValueError) as error:
        raise DatasetError(f"{error}. Received: {str(dataset)!r}") from error
