"""What is chosen and not learned: the strength of L2, a temperature; and figures without flattery.

Nothing here sees the test side. In nested cross-validation each photo is judged by a head that
never saw it and whose strength and temperature were chosen without it: of five folds one is judged,
the next chooses, three are learned from; then the head is learned from those four.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.pipeline.outputs import softmax
from mobilenet_hub.retraining.head import Axes, Coefficients, Floats, Regression
from mobilenet_hub.retraining.records import Data

STRENGTHS = tuple(float(value) for value in 10.0 ** -np.arange(0.0, 6.1, 0.5))
ROUGH = 1e-4  # gain of a step, relative to the loss, below which a head is good enough to judge
PATIENCE = 2  # strengths without a lower loss before the path ends
_TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one strength.

    Attributes:
        strength: of L2.
        train_accuracy: on the photos learned from.
        accuracy, loss: on those that judge: the share of right answers (of right labels where a
            photo may have several), and the mean cross-entropy.
    """

    strength: float
    train_accuracy: float
    accuracy: float
    loss: float


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """A chosen strength.

    Attributes:
        strength: that is best.
        coefficients: learned with it.
        trials: of all strengths tried.
    """

    strength: float
    coefficients: Coefficients
    trials: tuple[Trial, ...]


def least_loss(trial: Trial) -> tuple[float, float]:
    """The more probable the right answers the better: smooth, so that few photos can judge."""
    return -trial.loss, trial.accuracy


def most_right(trial: Trial) -> tuple[float, float]:
    """The more right answers the better; of as many, the more probable ones."""
    return trial.accuracy, -trial.loss


def choose_strength(
    regression: Regression,
    targets: NDArray[Any],
    without: Collection[int],
    judge: int,
    *,
    strengths: Sequence[float] = STRENGTHS,
    patience: int = PATIENCE,
    gain: float = ROUGH,
    start: Coefficients | None = None,
    merit: Callable[[Trial], tuple[float, float]] = least_loss,
) -> Choice:
    """Go down the path of strengths until the loss on the photos of a fold rises.

    Args:
        regression: the photos.
        targets: of all of them, by row.
        without: folds that are not learned from, the judging one among them.
        judge: the fold that judges.
        strengths: to try, descending.
        patience: strengths without a lower loss before the path ends.
        gain: of a step, relative to the loss, below which it is the last.
        start: coefficients to begin from.
        merit: what is best.
    """
    trials: list[Trial] = []
    coefficients = start
    best: Coefficients | None = None
    for strength in strengths:
        coefficients = regression.fit(strength, without, coefficients, gain)
        rows, logits = regression.logits(coefficients, judge)
        learned = [
            accuracy(found[1], targets[found[0]])
            for fold in range(regression.folds)
            if fold not in without and len((found := regression.logits(coefficients, fold))[0])
        ]
        trial = Trial(
            strength,
            float(np.mean(learned)),
            accuracy(logits, targets[rows]),
            cross_entropy(logits, targets[rows]),
        )
        if best is None or merit(trial) > max(map(merit, trials)):
            best = coefficients
        trials.append(trial)
        if len(trials) - int(np.argmin([each.loss for each in trials])) > patience:
            break
    assert best is not None
    return Choice(max(trials, key=merit).strength, best, tuple(trials))


@dataclass(frozen=True, slots=True, eq=False)
class OutOfFold:
    """What was said of each photo by heads that had not seen it.

    Attributes:
        logits: float32 [repeats, photos, classes].
        calibrated: the same over temperatures that were fitted without the photo.
        nested: whether strength and temperature were chosen without the photo too.
    """

    logits: Floats
    calibrated: Floats
    nested: bool


def cross_validate(
    features: Floats,
    axes: Axes,
    data: Data,
    divide: Callable[[int], NDArray[np.int64]],
    weights: Floats | None,
    *,
    strength: float | None = None,
    repeats: int = 1,
    on_fold: Callable[[], None] = lambda: None,
) -> OutOfFold:
    """Out-of-fold logits of all photos.

    Args:
        features: float32 [photos, features].
        axes: that those which take part vary along.
        data: the photos.
        divide: gives the fold of each, in another way for each number; −1 for photos that take no
            part, whose logits are NaN.
        weights: float32 [photos], how much each counts; alike where None.
        strength: of L2, where it was chosen elsewhere; chosen within each fold where None.
        repeats: how often it is done.
        on_fold: called after each fold.
    """
    shape = (repeats, len(features), len(data.labels))
    logits, calibrated = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    for repeat in range(repeats):
        folds = divide(repeat)
        regression = Regression(features, axes, data.targets, len(data.labels), folds, weights)
        for fold in range(regression.folds):
            temperature, chosen, start = 1.0, strength, None
            if chosen is None:
                judge = (fold + 1) % regression.folds
                choice = choose_strength(
                    regression,
                    data.targets,
                    (fold, judge),
                    judge,
                    strengths=STRENGTHS[::2],
                    patience=1,
                )
                rows, judged = regression.logits(choice.coefficients, judge)
                temperature = fit_temperature(judged, data.targets[rows])
                chosen, start = choice.strength, choice.coefficients
            coefficients = regression.fit(chosen, (fold,), start, ROUGH)
            rows, found = regression.logits(coefficients, fold)
            logits[repeat, rows], calibrated[repeat, rows] = found, found / np.float32(temperature)
            on_fold()
    return OutOfFold(logits, calibrated, nested=strength is None)


def fit_temperature(logits: Floats, targets: NDArray[Any]) -> float:
    """The temperature of least cross-entropy (Guo et al., arXiv 1706.04599): a golden section.

    Args:
        logits: float32 [photos, classes]; of no photo the temperature is 1.
        targets: int64 [photos] or bool [photos, classes].
    """
    if not len(logits):
        return 1.0
    low, high = (float(np.log(value)) for value in _TEMPERATURES)
    ratio = (5**0.5 - 1) / 2

    def loss(logarithm: float) -> float:
        return cross_entropy(logits / np.float32(np.exp(logarithm)), targets)

    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > 1e-3:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss(right)
    return round(float(np.exp((low + high) / 2)), 3)


def probabilities(logits: Floats, *, multi_label: bool) -> Floats:
    """Of logits [photos, classes]: the softmax of each row, or sigmoids."""
    if not multi_label:
        return softmax(logits)
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def cross_entropy(logits: Floats, targets: NDArray[Any]) -> float:
    """The mean over photos; of several labels a photo, over labels too."""
    if targets.ndim == 2:
        losses = np.logaddexp(0, logits, dtype=np.float64) - targets * logits
        return float(losses.mean())
    highest = logits.max(axis=1, keepdims=True)
    sums = np.exp(logits - highest).sum(axis=1, dtype=np.float64)
    own = logits[np.arange(len(logits)), targets]
    return float((np.log(sums) + highest[:, 0] - own).mean())


def accuracy(logits: Floats, targets: NDArray[Any]) -> float:
    """The share of right answers; of several labels a photo, of right labels."""
    if targets.ndim == 2:
        return float(((logits >= 0) == targets).mean())
    return float((logits.argmax(axis=1) == targets).mean())
