"""What the rest of the room reads of a dataset: ids and unit vectors, and how they were made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import DatasetError
from mobilenet_hub.pipeline.dataset import formats, single_file
from mobilenet_hub.pipeline.dataset.manifest import Manifest
from mobilenet_hub.pipeline.dataset.parquet import METADATA_KEY, read_schema
from mobilenet_hub.pipeline.outputs import l2_normalized


def unit_rows(dataset: Path) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
    """The rows of a dataset in batches, each embedding scaled to length 1.

    Rows without an embedding are left out: some tools write failures so. Embeddings may be lists of
    any kind and of any numbers, ids strings or numbers.

    Yields:
        ids, and float32 [rows, features].

    Raises:
        DatasetError: it is not a dataset of embeddings, they are not all of one length, or a row
            has no id.
    """
    import pyarrow as pa

    features: int | None = None
    for batch in formats.read_rows(dataset, ["id", "embedding"]):
        rows = batch.filter(batch.column("embedding").is_valid())
        if rows.num_rows == 0:
            continue
        try:
            ids = rows.column("id").cast(pa.string())
            vectors = _matrix(rows.column("embedding"))
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


def how_made(dataset: Path) -> dict[str, Any] | None:
    """The settings that a dataset was made with, or None where nothing tells."""
    if dataset.is_dir() or formats.format_of(dataset) == ".parquet":
        parts = formats.parts_of(dataset) if dataset.is_dir() else [dataset]
        try:
            text = (read_schema(parts[0]).metadata or {}).get(METADATA_KEY) if parts else None
        except FileNotFoundError as error:
            raise DatasetError(f"{error}. Received: {str(dataset)!r}") from error
        made = None if text is None else json.loads(text)
        return made if isinstance(made, dict) else None
    if not single_file.packed_parts(dataset):
        return None  # not the file whose settings are noted beside it
    return Manifest(single_file.work_folder(dataset)).read_settings()
