"""A dataset searched as it lies: every row is compared, none is missed, and nothing is built first.

That reads the whole dataset for each search; of many searches, or of millions of rows, an index is
quicker.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import DatasetError
from mobilenet_hub.pipeline.dataset import formats
from mobilenet_hub.pipeline.outputs import l2_normalized, top_k
from mobilenet_hub.pipeline.records import Embedding, Failure
from mobilenet_hub.pipeline.sources.items import Item
from mobilenet_hub.search.index import Index
from mobilenet_hub.search.queries import Match, embed_queries
from mobilenet_hub.search.vectors import how_made, unit_rows


def open_rows(path: str | Path) -> Index | Rows:
    """What can be searched: an index, or a dataset itself.

    Raises:
        DatasetError: it is neither, or damaged.
        MissingExtraError: an index, and usearch is not installed.
    """
    path = Path(path)
    is_dataset = formats.parts_of(path) if path.is_dir() else formats.format_of(path)
    return Rows(path) if is_dataset and path.exists() else Index(path)


class Rows:
    """The rows of a dataset, open for searching.

    Args:
        path: of its folder or file.

    Attributes:
        made: the settings its embeddings were made with, if they are known.

    Raises:
        DatasetError: not a dataset of embeddings.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.made = how_made(self.path)

    def __len__(self) -> int:
        """How many rows."""
        return sum(batch.num_rows for batch in formats.read_rows(self.path, ["id"]))

    def search_each(
        self, embeddings: Sequence[NDArray[np.float32]], count: int = 10
    ) -> list[list[Match]]:
        """The rows most like each of some embeddings; the dataset is read once for all.

        Args:
            embeddings: float32 [features] each, of any length but zero.
            count: how many rows.

        Returns:
            For each of them, best first; of equal ones, the earlier row.

        Raises:
            DatasetError: the embeddings have another number of features.
        """
        if not embeddings:
            return []
        queries = l2_normalized(np.stack(embeddings))
        best = np.empty((len(queries), 0), np.float32)
        names: NDArray[Any] = np.empty((len(queries), 0), object)
        for ids, vectors in unit_rows(self.path):
            if vectors.shape[1] != queries.shape[1]:
                raise DatasetError(
                    f"this dataset holds embeddings of {vectors.shape[1]} numbers. "
                    f"Received: shape {queries.shape[1:]}"
                )
            found = np.broadcast_to(np.array(ids, object), (len(queries), len(ids)))
            at, best = top_k(np.concatenate([best, queries @ vectors.T], axis=1), count)
            names = np.take_along_axis(np.concatenate([names, found], axis=1), at, axis=1)
        return [
            [Match(name, min(1.0, float(value))) for name, value in zip(row, values, strict=True)]
            for row, values in zip(names, best, strict=True)
        ]

    def embed(
        self, items: Iterable[Item], module: str | None = None
    ) -> Iterator[Embedding | Failure]:
        """Embed queries as the rows were: see `queries.embed_queries`."""
        return embed_queries(items, self.path, self.made, module)
