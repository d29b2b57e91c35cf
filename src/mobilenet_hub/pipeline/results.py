"""What a processor hands on: what became of each of some items, and their outputs as arrays."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import Stage
from mobilenet_hub.pipeline.sources.items import Stamp


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an item: it has a row, or it failed.

    Attributes:
        id: of the item.
        path: where its bytes came from, in words for people; empty where a manifest tells of it.
        stamp: of its bytes; None where they could not be had or looked at (a missing file, a
            network, no memory), which says nothing of them: the item is tried again, and a row it
            has from before stays.
        sha256: of its bytes, in hexadecimal, if asked for.
        width, height: of the picture, upright, in pixels, if asked for; else 0.
        perceptual_hash: of the pixels that were computed on, if asked for.
        stage: at which it failed; None for one that has a row.
        reason: of the failure, in words.
    """

    id: str
    path: str
    stamp: Stamp | None = None
    sha256: str = ""
    width: int = 0
    height: int = 0
    perceptual_hash: bytes = b""
    stage: Stage | None = None
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Whether it has no row."""
        return self.stage is not None


@dataclass(slots=True)
class Results:
    """The results of consecutive items.

    Attributes:
        outcomes: in the order of the items.
        features: float32 [rows, num_features], in the order of the rows among the outcomes; empty
            where only labels were asked for.
        label_indices: int32 [rows, k].
        label_scores: float32 [rows, k].
        unknown: bool [rows], whether the image is none of the classes; empty where nobody asked.
        skipped: ids of items that were done before.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    features: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    label_indices: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 0), np.int32))
    label_scores: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    unknown: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    skipped: list[str] = field(default_factory=list)

    @property
    def rows(self) -> list[Outcome]:
        """The outcomes that have outputs."""
        return [outcome for outcome in self.outcomes if not outcome.failed]

    def split(self, count: int) -> tuple[Results, Results]:
        """The first so many outcomes, and the others."""
        head, tail = self.outcomes[:count], self.outcomes[count:]
        row = sum(not outcome.failed for outcome in head)
        features, indices, scores = self.features, self.label_indices, self.label_scores
        unknown = self.unknown
        return (
            Results(head, features[:row], indices[:row], scores[:row], unknown[:row], self.skipped),
            Results(tail, features[row:], indices[row:], scores[row:], unknown[row:]),
        )


@dataclass(slots=True)
class Counts:
    """What became of the items so far.

    Attributes:
        done: items that have a row now.
        failed: items that failed in this run.
        skipped: items that were done before.
    """

    done: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, results: Results) -> None:
        """Count the results of some items."""
        rows = len(results.rows)
        self.done += rows
        self.failed += len(results.outcomes) - rows
        self.skipped += len(results.skipped)

    @property
    def items(self) -> int:
        """All items seen."""
        return self.done + self.failed + self.skipped
