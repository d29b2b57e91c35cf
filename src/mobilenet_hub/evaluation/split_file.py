"""`split.parquet` of a classifier: what each photo that it was made with was used for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, get_args

from mobilenet_hub.errors import DatasetError

Side = Literal["train", "val", "test"]
SPLIT = "split.parquet"
_MAX_BYTES = 1 << 30


def split_beside(module: object) -> Path | None:
    """The split beside a classifier that is given by its path; None where there is none.

    Args:
        module: as `hub.evaluate` takes it.
    """
    if not isinstance(module, str | os.PathLike):
        return None
    place = Path(os.fspath(module))
    path = (place if place.is_dir() else place.parent) / SPLIT
    return path if place.exists() and path.is_file() else None


def read_split(path: Path) -> dict[bytes, Side]:
    """The side of each photo, by the sha256 of its content; of one left out there is none.

    Raises:
        DatasetError: the file is damaged.
        OSError: it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("too large")
        with pq.ParquetFile(path) as file:
            table = file.read(columns=["sha256", "side"], use_threads=False)
        digests, sides = (column.to_pylist() for column in table.columns)
        found = {
            bytes.fromhex(value): side
            for value, side in zip(digests, sides, strict=True)
            if side is not None
        }
        if not set(found.values()) <= set(get_args(Side)):
            raise ValueError("unknown sides")
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise DatasetError(
            f"the list of what photos were used for is damaged ({error}); remove it, and photos "
            f"may be used otherwise the next time. Received: {str(path)!r}"
        ) from error
    return found
