"""What a processor hands on: the results of consecutive items, still as arrays."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.labels import imagenet_labels
from mobilenet_hub.pipeline.records import Failure, Label
from mobilenet_hub.pipeline.sources.items import Stamp


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of an item whose outputs were computed.

    Attributes:
        id, path: of the item.
        stamp: of the bytes that were read.
        sha256: of the bytes, in hexadecimal, if asked for.
        width, height: of the picture, upright, in pixels, if asked for; else 0.
    """

    id: str
    path: str
    stamp: Stamp
    sha256: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """A failure, and the stamp of the bytes that failed, if they could be read."""

    failure: Failure
    stamp: Stamp | None = None
    sha256: str = ""


@dataclass(slots=True)
class Block:
    """The results of consecutive items.

    Attributes:
        entries: in the order of the items.
        features: float32 [rows, num_features], in the order of the rows among the entries; empty
            where only labels were asked for.
        label_indices: int32 [rows, k].
        label_scores: float32 [rows, k].
        skipped: how many items were done before.
    """

    entries: list[Row | Failed] = field(default_factory=list)
    features: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    label_indices: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 0), np.int32))
    label_scores: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    skipped: int = 0

    @property
    def rows(self) -> list[Row]:
        """The entries that have outputs."""
        return [entry for entry in self.entries if isinstance(entry, Row)]

    def split(self, entries: int) -> tuple[Block, Block]:
        """The first so many entries, and the others."""
        head, tail = self.entries[:entries], self.entries[entries:]
        row = sum(isinstance(entry, Row) for entry in head)
        features, indices, scores = self.features, self.label_indices, self.label_scores
        return (
            Block(head, features[:row], indices[:row], scores[:row], self.skipped),
            Block(tail, features[row:], indices[row:], scores[row:]),
        )

    def labels(self) -> list[tuple[Label, ...]]:
        """The labels of each row, in words; empty where none were asked for."""
        names = imagenet_labels()
        if self.label_indices.size == 0:
            return [() for _ in range(max(len(self.features), len(self.label_indices)))]
        return [
            tuple(
                Label(index, names[index], score)
                for index, score in zip(indices, scores, strict=True)
            )
            for indices, scores in zip(
                self.label_indices.tolist(), self.label_scores.tolist(), strict=True
            )
        ]
