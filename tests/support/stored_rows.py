"""Reading what `embed` wrote, in any of its formats."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mobilenet_hub.pipeline.dataset.formats import read_rows


def rows(output: str | Path) -> list[tuple[str, np.ndarray]]:
    """Ids and embeddings in the order of the dataset; fails where an id occurs twice."""
    path = Path(output)
    found = list(_csv_rows(path) if path.suffix.lower() == ".csv" else _arrow_rows(path))
    assert len({identity for identity, _ in found}) == len(found)
    return found


def _arrow_rows(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    for batch in read_rows(path, ["id", "embedding"]):
        for row in batch.to_pylist():
            yield row["id"], np.float32(row["embedding"])


def _csv_rows(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            features = [name for name in row if name[0] == "e" and name[1:].isdecimal()]
            yield row["id"], np.array([row[name] for name in features], np.float32)


def assert_same_rows(
    found: list[tuple[str, np.ndarray]], wanted: list[tuple[str, np.ndarray]]
) -> None:
    """Same ids in the same order, same embeddings to the last bit."""
    assert [identity for identity, _ in found] == [identity for identity, _ in wanted]
    for (_, row), (_, other) in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(row, other)
