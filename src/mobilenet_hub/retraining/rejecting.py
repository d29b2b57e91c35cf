"""None of these: the cosine to the nearest photo learned from, and the least that is believed.

Measured on bees and ants against 1,000 photos of other things, with 95 % of bees and ants kept,
this rejects 97 %, the highest probability 60 %, the Mahalanobis distance 42 %.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.pipeline.outputs import l2_normalized
from mobilenet_hub.retraining.head import Floats

KEPT = 0.95  # of the photos that the threshold is fitted on
MOST_PROTOTYPES = 4096  # 21 MB of 1,280 features
_MOST_OF_A_CLASS, _FEWEST_OF_A_CLASS = 128, 8
_MARGIN = 1e-4  # of a cosine: another engine or batch may compute that differently
_ROWS = 4096


def choose_prototypes(
    classes: NDArray[np.int64], digests: Sequence[bytes], count: int
) -> NDArray[np.intp]:
    """The photos that stand for each class, by their rows, ascending.

    All, where they are few; else those with the least hashes, which are a fair sample that changes
    little when photos are added.

    Args:
        classes: int64 [photos], the class of each (`split.strata`).
        digests: the sha256 of each.
        count: of classes.
    """
    limit = max(_FEWEST_OF_A_CLASS, min(_MOST_OF_A_CLASS, MOST_PROTOTYPES // max(count, 1)))
    chosen = []
    for number in np.unique(classes):
        rows = np.flatnonzero(classes == number).tolist()
        chosen += sorted(rows, key=lambda row: digests[row])[:limit]
    return np.array(sorted(chosen), np.intp)


def reject_scores(
    features: Floats,
    prototypes: Floats,
    own: NDArray[np.int64] | None = None,
    kin: NDArray[np.int64] | None = None,
) -> Floats:
    """The cosine of each photo to the nearest prototype: float32 [photos] in [-1, 1].

    Args:
        features: float32 [photos, features].
        prototypes: float32 [prototypes, features], of length 1.
        own: int [photos], what each photo is tied to; a prototype of the same number is not
            compared with, so that photos learned from are not found alike to themselves.
        kin: int [prototypes], likewise; both or none.
    """
    scores = np.empty(len(features), np.float32)
    for start in range(0, len(features), _ROWS):
        part = slice(start, start + _ROWS)
        cosines = l2_normalized(features[part]) @ prototypes.T
        if own is not None and kin is not None:
            cosines[own[part, None] == kin] = -1
        scores[part] = np.clip(cosines.max(axis=1, initial=-1), -1, 1)
    return scores


def fit_threshold(scores: Floats) -> float | None:
    """The score that `KEPT` of the photos reach; None of no photo."""
    if not len(scores):
        return None
    below = int((1 - KEPT) * len(scores))
    return max(-1.0, round(float(np.sort(scores)[below]) - _MARGIN, 6))
