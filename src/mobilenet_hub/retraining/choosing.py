"""What is chosen and not learned: the strength of L2, a temperature; and figures without flattery.

Nothing here sees the test side. In nested cross-validation each photo is judged by a head that
never saw it and whose strength and temperature were chosen without it: of five folds one is judged,
the next chooses, three are learned from; then the head is learned from those four.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.pipeline.outputs import softmax
from mobilenet_hub.retraining.head import Axes, Coefficients, Floats, Regression
from mobilenet_hub.retraining.records import Data

STRENGTHS = tuple(float(value) for value in 10.0 ** -np.arange(0.0, 6.1, 0.5))
ROUGH = 1e-4  # gain of a step, relative to the loss, below which a head is good enough to judge
FINE = 3e-5  # likewise, where it is to be told from another that is nearly as good
PATIENCE = 2  # strengths without a lower loss before the path ends
_TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """What came of one strength.

    Attributes:
        strength: of L2.
        coefficients: learned with it.
        train_accuracy: on the photos learned from.
        accuracy, loss: on those that judge: the share of right answers (of right labels where a
            photo may have several), and the mean cross-entropy.
    """

    strength: float
    coefficients: Coefficients
    train_accuracy: float
    accuracy: float
    loss: float


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """A chosen strength.

    Attributes:
        best: what came of it.
        trials: of all strengths tried.
    """

    best: Trial
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
    path: Sequence[Coefficients] = (),
    merit: Callable[[Trial], tuple[float, float]] = least_loss,
    on_trial: Callable[[], None] = lambda: None,
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
        path: coefficients near those that are looked for, a strength each, where they are known.
        merit: what is best.
        on_trial: called after each strength.
    """
    trials: list[Trial] = []
    for strength in strengths:
        begin = _begin(trials, path)
        coefficients = regression.fit(strength, without, begin, gain)
        rows, logits = regression.logits(coefficients, judge)
        learned = [
            accuracy(found[1], targets[found[0]])
            for fold in range(regression.folds)
            if fold not in without and len((found := regression.logits(coefficients, fold))[0])
        ]
        trials.append(
            Trial(
                strength,
                coefficients,
                float(np.mean(learned)),
                accuracy(logits, targets[rows]),
                cross_entropy(logits, targets[rows]),
            )
        )
        on_trial()
        if len(trials) - int(np.argmin([each.loss for each in trials])) > patience:
            break
    return Choice(max(trials, key=merit), tuple(trials))


def _begin(trials: Sequence[Trial], path: Sequence[Coefficients]) -> Coefficients | None:
    """Where to look for the next coefficients: they go on as they do on the known path, or did.

    Where classes can be told apart, coefficients grow by as much with each step of the path.
    """
    if not trials:
        return path[0] if path else None
    last, number = trials[-1].coefficients, len(trials)
    if path:
        return last.moved(path[number - 1], path[number])
    return last.moved(trials[-2].coefficients, last) if number > 1 else last


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
    pool: ThreadPoolExecutor,
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
        pool: has a fold in each thread.
        strength: of L2, where it was chosen elsewhere; chosen within each fold where None.
        repeats: how often it is done.
        on_fold: called after each fold.
    """
    shape = (repeats, len(features), len(data.labels))
    logits, calibrated = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    for repeat in range(repeats):
        folds = divide(repeat)
        regression = Regression(features, axes, data.targets, len(data.labels), folds, weights)
        judge_fold = partial(_judge_fold, regression, data.targets, strength)
        for rows, found, temperature in pool.map(judge_fold, range(regression.folds)):
            logits[repeat, rows] = found
            calibrated[repeat, rows] = found / np.float32(temperature)
            on_fold()
    return OutOfFold(logits, calibrated, nested=strength is None)


def _judge_fold(
    regression: Regression, targets: NDArray[Any], strength: float | None, fold: int
) -> tuple[NDArray[np.intp], Floats, float]:
    """The photos of a fold, by their rows, their logits by a head of the others, a temperature."""
    temperature, start = 1.0, None
    if strength is None:
        judge = (fold + 1) % regression.folds
        best = choose_strength(
            regression, targets, (fold, judge), judge, strengths=STRENGTHS[::2], patience=1
        ).best
        rows, judged = regression.logits(best.coefficients, judge)
        temperature = fit_temperature(judged, targets[rows])
        strength, start = best.strength, best.coefficients
    coefficients = regression.fit(strength, (fold,), start, ROUGH)
    return *regression.logits(coefficients, fold), temperature


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
