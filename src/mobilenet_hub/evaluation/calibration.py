"""How far probabilities can be believed, and what is gained by answering only where one is sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.evaluation.intervals import rounded_dict

BINS = 15  # of equal width, as in Guo et al.
_STEPS = 20  # of a coverage curve

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions whose probability lies in one range.

    Attributes:
        low, high: of the range: above `low` (the first from 0), up to `high`.
        count: how many predictions.
        confidence: their mean probability; 0 where there are none.
        accuracy: the share of them that is right; 0 where there are none.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """Whether of what is said with 80 % some 80 % is right.

    Attributes:
        error: expected calibration error in [0, 1]: the mean distance of confidence and accuracy,
            each bin weighing as much as it has predictions (Guo et al., "On Calibration of Modern
            Neural Networks", 2017).
        bins: `BINS` of equal width from 0 to 1.
    """

    error: float
    bins: tuple[Bin, ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields as they go into JSON."""
        return rounded_dict({"error": self.error, "bins": [asdict(each) for each in self.bins]})


def reliability(confidence: Floats, right: Bools) -> Reliability:
    """Reliability of predictions.

    Args:
        confidence: [predictions] probabilities in [0, 1] of what was predicted.
        right: bool [predictions].
    """
    edges = np.linspace(0, 1, BINS + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    weights = np.maximum(counts, 1)
    confidences = np.bincount(place, confidence, BINS) / weights
    accuracies = np.bincount(place, right, BINS) / weights
    error = float(np.sum(counts * np.abs(confidences - accuracies)) / max(len(confidence), 1))
    columns = (edges[:-1], edges[1:], counts, confidences, accuracies)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return Reliability(error, tuple(Bin(*row) for row in rows))


@dataclass(frozen=True, slots=True)
class CoveragePoint:
    """What comes of answering only where a score is high enough.

    Attributes:
        threshold: the least score that is answered.
        coverage: the share of photos answered.
        accuracy: the share of right answers among them.
        rejected: the share of photos of none of the classes that is not answered; None where there
            are none.
    """

    threshold: float
    coverage: float
    accuracy: float
    rejected: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields as they go into JSON."""
        return rounded_dict(asdict(self))


def coverage_point(
    threshold: float, scores: Floats, right: Bools, unknown: Floats | None = None
) -> CoveragePoint:
    """What comes of one threshold; of no photo answered, the accuracy is 1.

    Args:
        threshold: the least score that is answered.
        scores: [photos], any that grow with certainty.
        right: bool [photos], whether the answer would be right.
        unknown: [others] scores of photos of none of the classes.
    """
    answered = scores >= threshold
    accuracy = float(right[answered].mean()) if answered.any() else 1.0
    rejected = float((unknown < threshold).mean()) if unknown is not None and len(unknown) else None
    return CoveragePoint(float(threshold), float(answered.mean()), accuracy, rejected)


def coverage_curve(
    scores: Floats, right: Bools, unknown: Floats | None = None
) -> tuple[CoveragePoint, ...]:
    """Accuracy by coverage (El-Yaniv and Wiener, "Selective Classification", 2010).

    Args:
        scores: see `coverage_point`.
        right: see there.
        unknown: see there.

    Returns:
        Up to 20 points of growing coverage, the last of all photos; none without photos.
    """
    if len(scores) == 0:
        return ()
    highest = np.sort(scores)[::-1]
    ranks = -(-len(scores) * np.arange(1, _STEPS + 1) // _STEPS) - 1
    thresholds: Sequence[float] = np.unique(highest[ranks])[::-1].tolist()
    return tuple(coverage_point(each, scores, right, unknown) for each in thresholds)
