"""What the rest of the room reads of a dataset: unit vectors, ids, and how they were made."""

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
from mobilenet_hub.pipeline.dataset.parquet import METADATA_KEY
from mobilenet_hub.pipeline.outputs import l2_normalized


def unit_vectors(dataset: Path) -> Iterator[NDArray[np.float32]]:
    """The embeddings of a dataset, each scaled to length 1, in batches.

    Yields:
        float32 [rows, features].

    Raises:
        DatasetError: it is not a dataset of embeddings, or they are not all of one length.
    """
    features: int | None = None
    for batch in formats.read_rows(dataset, ["embedding"]):
        values = formats.embeddings(batch)
        if features is None:
            features = values.shape[1]
        if values.shape[1] != features or not np.isfinite(values).all():
            raise DatasetError(
                f"expected finite embeddings of {features} numbers each. "
                f"Received: {str(dataset)!r}, with {values.shape[1]} numbers or not finite"
            )
        yield l2_normalized(values.astype(np.float32, copy=False))


def row_ids(dataset: Path) -> Iterator[list[str]]:
    """The ids of a dataset's rows, in the same batches."""
    for batch in formats.read_rows(dataset, ["id"]):
        yield batch.column("id").to_pylist()


def how_made(dataset: Path) -> dict[str, Any] | None:
    """The settings that a dataset was made with, or None where nothing tells."""
    import pyarrow as pa
    from pyarrow.parquet import read_schema

    if dataset.is_dir() or formats.format_of(dataset) == ".parquet":
        parts = formats.parts_of(dataset) if dataset.is_dir() else [dataset]
        try:
            schema = read_schema(parts[0]) if parts else pa.schema([])
        except (pa.ArrowException, FileNotFoundError) as error:
            raise DatasetError(f"{error}. Received: {str(dataset)!r}") from error
    elif not single_file.packed_parts(dataset):
        return None  # not the file whose settings are noted beside it
    else:
        return Manifest(single_file.work_folder(dataset)).read_settings()
    text = (schema.metadata or {}).get(METADATA_KEY)
    if text is None:
        return None
    made = json.loads(text)
    return made if isinstance(made, dict) else None
