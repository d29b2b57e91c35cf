"""What the steps of a training hand to each other."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import InputError
from mobilenet_hub.evaluation.records import Curve
from mobilenet_hub.pipeline.sources.items import Item
from mobilenet_hub.weights.canonical import Weights

Side = Literal["train", "val", "test"]


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


@dataclass(frozen=True, slots=True)
class FineTuneSettings:
    """How all layers are trained after the head.

    Attributes:
        epochs: at most, of all layers.
        layers: how many of the last blocks are trained; None for all.
        batch_size: photos a step.
        learning_rate: at the beginning; it falls as half a cosine.
        momentum: of the gradient descent.
        l1, l2: penalties of the head's kernel: these times the sum of its values' sizes, and of
            their squares.
        dropout: share of features that is dropped before the head.
        label_smoothing: share of the target that is spread over all classes.
        batch_norm_momentum: of the moving averages; None chooses by the number of steps.
        flip: whether pictures are mirrored at random.
        crop: greatest random shift of the picture, as a share of its side, in [0, 1).
        scale, brightness: greatest random change, as a share in [0, 1).
        rotation, shear: greatest random angle, in degrees.
        patience: epochs without a better validation loss before it stops.
        seed: of everything random.

    Raises:
        InputError: a value that cannot be.
    """

    epochs: int = 10
    layers: int | None = None
    batch_size: int = 32
    learning_rate: float = 0.01
    momentum: float = 0.9
    l1: float = 0.0
    l2: float = 1e-4
    dropout: float = 0.2
    label_smoothing: float = 0.1
    batch_norm_momentum: float | None = None
    flip: bool = True
    crop: float = 0.1
    scale: float = 0.1
    brightness: float = 0.1
    rotation: float = 10.0
    shear: float = 0.0
    patience: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1. Received: {getattr(self, name)}")
        for name in ("momentum", "dropout", "label_smoothing", "crop", "scale", "brightness"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be in [0, 1). Received: {getattr(self, name)}")
        if self.layers is not None and self.layers < 0:
            raise InputError(f"layers must not be negative. Received: {self.layers}")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate must be above 0. Received: {self.learning_rate}")
        if min(self.l1, self.l2) < 0:
            raise InputError(f"l1, l2 must not be negative. Received: {self.l1}, {self.l2}")
        for name, most in (("rotation", 180), ("shear", 60)):
            if not 0 <= getattr(self, name) <= most:
                raise InputError(
                    f"{name} is in degrees, 0 to {most}. Received: {getattr(self, name)}"
                )
        momentum = self.batch_norm_momentum
        if momentum is not None and not 0 <= momentum < 1:
            raise InputError(f"batch_norm_momentum must be in [0, 1). Received: {momentum}")

    def to_dict(self) -> dict[str, Any]:
        """The fields as they go into JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class FineTuned:
    """What a training of all layers gives.

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
