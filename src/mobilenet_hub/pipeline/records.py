"""What comes out of the pipeline, one record an item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import Stage


@dataclass(frozen=True, slots=True)
class Label:
    """One class and how much an image looks like it.

    Attributes:
        index: of the logit; of ImageNet's, 0 is background.
        name: in words.
        score: probability in [0, 1], the softmax of the logits; of a classifier with several labels
            an image, the sigmoid of its own.
    """

    index: int
    name: str
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """The feature vector of one image.

    Attributes:
        id: of the item.
        path: where its bytes came from.
        embedding: float32 [num_features].
        labels: most likely first, if they were asked for.
        unknown: whether the image is none of the classes, as far as a classifier of somebody's own
            can tell: see `Classification`.
        ok: True; of a `Failure`, False.
    """

    ok: ClassVar[Literal[True]] = True

    id: str
    path: str
    embedding: NDArray[np.float32]
    labels: tuple[Label, ...] = ()
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Classification:
    """The most likely classes of one image.

    Attributes:
        id: of the item.
        path: where its bytes came from.
        labels: most likely first.
        unknown: whether the image is unlike everything that a classifier was made with, so that it
            is likely none of the classes; never where that is not looked at.
        ok: True; of a `Failure`, False.
    """

    ok: ClassVar[Literal[True]] = True

    id: str
    path: str
    labels: tuple[Label, ...]
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that yielded no result.

    Attributes:
        id: of the item.
        path: where its bytes were to come from.
        stage: `list`, `read` or `decode`.
        reason: in words.
        ok: False; of a result, True.
    """

    ok: ClassVar[Literal[False]] = False

    id: str
    path: str
    stage: Stage
    reason: str
