"""What the steps of a training hand to each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.evaluation.records import Curve
from mobilenet_hub.evaluation.split_file import Side
from mobilenet_hub.pipeline.sources.items import Item
from mobilenet_hub.weights.canonical import Weights


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """Photos with their labels, one row each.

    Attributes:
        labels: what each class is called.
        items: the photos, by id.
        targets: int64 [photos], the number of each one's class; where a photo may have several
            labels, bool [photos, classes].
        sides: which side each is on; None where that is still to be decided.
        groups: which photos belong together (of one animal, one visit), by a name each; None where
            nobody said.
    """

    labels: tuple[str, ...]
    items: tuple[Item, ...]
    targets: NDArray[Any]
    sides: tuple[Side, ...] | None = None
    groups: tuple[str, ...] | None = None

    @property
    def multi_label(self) -> bool:
        """Whether a photo may have several labels, or none."""
        return self.targets.ndim == 2

    def only(self, rows: NDArray[np.intp]) -> Data:
        """Some of the photos, by their rows."""
        return replace(
            self,
            items=tuple(self.items[row] for row in rows),
            targets=self.targets[rows],
            sides=self.sides and tuple(self.sides[row] for row in rows),
            groups=self.groups and tuple(self.groups[row] for row in rows),
        )

    def on(self, side: Side) -> Data:
        """The photos of one side."""
        sides = np.asarray(self.sides if self.sides is not None else [])
        return self.only(np.flatnonzero(sides == side))


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A linear layer from features to logits: `features @ kernel + biases`.

    Attributes:
        kernel: float32 [features, classes].
        biases: float32 [classes].
    """

    kernel: NDArray[np.float32]
    biases: NDArray[np.float32]

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of features float32 [photos, features]: float32 [photos, classes]."""
        return features @ self.kernel + self.biases


@dataclass(frozen=True, slots=True, eq=False)
class FineTuned:
    """What a training of more than the head gives.

    Attributes:
        backbone: the trained network, without a classification layer.
        head: from its features to logits.
        curves: loss and accuracy by epoch.
        chosen: what was chosen and why, by name (`batch_norm_momentum`, the best epoch, ...).
    """

    backbone: Weights
    head: Head
    curves: tuple[Curve, ...]
    chosen: dict[str, Any]
