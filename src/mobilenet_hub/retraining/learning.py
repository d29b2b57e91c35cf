"""From features and sides to all that a classifier is made of, and what is known of it then."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import InputError
from mobilenet_hub.evaluation.records import Curve
from mobilenet_hub.pipeline.outputs import l2_normalized
from mobilenet_hub.retraining.choosing import (
    FINE,
    ROUGH,
    STRENGTHS,
    Choice,
    OutOfFold,
    Trial,
    accuracy,
    choose_strength,
    cross_validate,
    fit_temperature,
    most_right,
)
from mobilenet_hub.retraining.data.features import Photos
from mobilenet_hub.retraining.data.reading import class_counts
from mobilenet_hub.retraining.data.split import LEAST_TEST_PHOTOS, folds_of, strata
from mobilenet_hub.retraining.head import Axes, Floats, Regression, principal_axes
from mobilenet_hub.retraining.records import Data, Head
from mobilenet_hub.retraining.rejecting import choose_prototypes, fit_threshold, reject_scores

FOLDS = 5
REPEATS = 3  # of cross-validation, of few photos
MAIN = 0.98  # of the variance: what strengths are chosen with, and cross-validation is done with
_FEW = 1000  # photos
MOST_TRIALS = len(STRENGTHS) + 3  # of `learn`
_QUARTERS = 4  # of the photos learned from, for the learning curve
_JUDGES = _QUARTERS  # the fold of the validation side


@dataclass(frozen=True, slots=True)
class LearningSettings:
    """How a head is learned.

    Attributes:
        balance: whether each class counts alike, however many photos it has.
        strength: of L2; chosen where None.
        seed: of how photos are divided into folds.

    Raises:
        InputError: a strength that is not above 0.
    """

    balance: bool = False
    strength: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.strength is not None and not self.strength > 0:
            raise InputError(f"strength must be above 0. Received: {self.strength}")


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What was learned on the training side and fitted on the validation side.

    Attributes:
        head: from features to logits.
        strength: of L2 that it was learned with.
        curves: of the path of strengths, and of growing numbers of photos.
    """

    head: Head
    strength: float
    curves: tuple[Curve, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """What was fitted to a head on the validation side.

    Attributes:
        temperature: that logits are divided by.
        reject_threshold: least score of a photo that is not called unknown.
        prototypes: float32 [prototypes, features] of length 1.
        logits: float32 [photos, classes] of all photos, before temperature.
        scores: float32 [photos] reject scores of all photos; of one learned from, to the nearest
            prototype that it is not tied to.
    """

    temperature: float
    reject_threshold: float | None
    prototypes: Floats
    logits: Floats
    scores: Floats


def axes_of(data: Data, photos: Photos) -> Axes:
    """The axes that photos vary along, those of the test side left out."""
    return principal_axes(photos.features, np.flatnonzero(np.asarray(data.sides) != "test"))


def learn(
    data: Data,
    photos: Photos,
    axes: Axes,
    components: NDArray[np.intp],
    settings: LearningSettings,
    pool: ThreadPoolExecutor,
    on_trial: Callable[[], None] = lambda: None,
) -> Learned:
    """A head from the training side, its strength chosen on the validation side.

    By the loss, roughly; then of three neighbours, learned to the end, that with the most right
    answers. Without a validation side, a quarter of the training side chooses, and then is learned
    from too.

    Args:
        data: the photos, with their sides.
        photos: their features.
        axes: that they vary along (`axes_of`).
        components: of what is tied together.
        settings: how.
        pool: computes.
        on_trial: called after each strength, `MOST_TRIALS` times at most.
    """
    sides = np.asarray(data.sides)
    train, judges = sides == "train", sides == "val"
    folds = np.full(len(sides), -1, np.int64)
    quarters = min(_QUARTERS, len(np.unique(components[train])))
    if not judges.any():
        _check_distinct(quarters)
    folds[train] = _divided(data, photos, components, train, quarters, settings.seed)
    folds[judges] = _JUDGES
    judge = _JUDGES if judges.any() else quarters - 1
    weights = _photo_weights(data, train) if settings.balance else None
    material = (data.targets, len(data.labels), folds, weights, pool)
    rough = Regression(photos.features, axes.main(MAIN), *material)
    path = STRENGTHS if settings.strength is None else (settings.strength,)
    roughly = choose_strength(
        rough, data.targets, (judge,), judge, strengths=path, on_trial=on_trial
    )
    growing = _learning_curve(rough, data, roughly.best, judge, folds)
    del rough
    regression = Regression(photos.features, axes, *material)
    near = _beside(roughly)
    best = choose_strength(
        regression, data.targets, (judge,), judge,
        strengths=[trial.strength for trial in near], gain=FINE,
        path=[trial.coefficients.among(axes) for trial in near], merit=most_right,
        on_trial=on_trial,
    ).best  # fmt: skip
    learned_without = (judge,) if judges.any() else ()
    coefficients = regression.fit(best.strength, learned_without, best.coefficients)
    path_curve = replace(_path_of_strengths(roughly), chosen=best.strength)
    return Learned(regression.head(coefficients), best.strength, (path_curve, growing))


def _beside(choice: Choice) -> tuple[Trial, ...]:
    """The chosen strength and its neighbours on the path, descending."""
    at = choice.trials.index(choice.best)
    return choice.trials[max(at - 1, 0) : at + 2]


def fit_head(data: Data, photos: Photos, components: NDArray[np.intp], head: Head) -> Fitted:
    """Temperature, prototypes and threshold; without a validation side from the training side."""
    sides = np.asarray(data.sides)
    train, judges = sides == "train", sides == "val"
    if not judges.any():
        judges = train
    logits = head.logits(photos.features)
    rows = np.flatnonzero(train)
    digests = [photos.digests[row] for row in rows]
    rows = rows[choose_prototypes(strata(data)[rows], digests, len(data.labels))]
    prototypes = l2_normalized(photos.features[rows])
    scores = reject_scores(photos.features, prototypes, components, components[rows])
    return Fitted(
        fit_temperature(logits[judges], data.targets[judges]),
        fit_threshold(scores[judges]),
        prototypes,
        logits,
        scores,
    )


def validate(
    data: Data,
    photos: Photos,
    axes: Axes,
    components: NDArray[np.intp],
    settings: LearningSettings,
    strength: float,
    pool: ThreadPoolExecutor,
    on_fold: Callable[[int, int], None],
) -> OutOfFold:
    """What heads that had not seen them say of all photos but those of the test side.

    Nested, and of few photos repeated, where the test side is too small to measure with; else once,
    with the strength that was chosen.

    Args:
        data: the photos.
        photos: their features.
        axes: that they vary along (`axes_of`).
        components: of what is tied together.
        settings: how a head is learned.
        strength: that was chosen.
        pool: computes.
        on_fold: told how many of how many folds are done.
    """
    taking_part = np.asarray(data.sides) != "test"
    nested = not has_test_side(data)
    count = min(FOLDS, len(np.unique(components[taking_part])))
    _check_distinct(count)
    repeats = REPEATS if nested and taking_part.sum() < _FEW else 1
    weights = _photo_weights(data, taking_part) if settings.balance else None
    done = 0

    def divide(repeat: int) -> NDArray[np.int64]:
        folds = np.full(len(components), -1, np.int64)
        seed = f"{settings.seed}/{repeat}"
        folds[taking_part] = _divided(data, photos, components, taking_part, count, seed)
        return folds

    def count_fold() -> None:
        nonlocal done
        done += 1
        on_fold(done, repeats * count)

    chosen = settings.strength if nested else strength
    return cross_validate(
        photos.features, axes.main(MAIN), data, divide, weights, pool,
        strength=chosen, repeats=repeats, on_fold=count_fold,
    )  # fmt: skip


def _check_distinct(count: int) -> None:
    """Refuse photos of which too few are left where copies count once.

    Raises:
        InputError: so few that they cannot be learned from, chosen and measured with apart.
    """
    if count < 3:
        raise InputError(
            "to say how good a classifier is takes at least three photos that are not copies of "
            f"each other, nor of one group. Received: {count}"
        )


def has_test_side(data: Data) -> bool:
    """Whether there is a test side large enough to measure with."""
    return (data.sides or ()).count("test") >= LEAST_TEST_PHOTOS


def class_weights(data: Data, rows: NDArray[np.bool_]) -> Floats:
    """How much a photo of each class counts so that each class counts alike: float32 [classes]."""
    counts = np.maximum(class_counts(data, rows), 1)
    return np.asarray(rows.sum() / (len(data.labels) * counts), np.float32)


def _photo_weights(data: Data, rows: NDArray[np.bool_]) -> Floats:
    """The same of each photo: float32 [photos]; of several labels that of the rarest, of none 1."""
    return np.append(class_weights(data, rows), np.float32(1))[strata(data)]


def _divided(
    data: Data,
    photos: Photos,
    components: NDArray[np.intp],
    rows: NDArray[np.bool_],
    count: int,
    seed: object,
) -> NDArray[np.int64]:
    at = np.flatnonzero(rows)
    digests = [photos.digests[row] for row in at]
    return folds_of(strata(data)[at], components[at], digests, count, seed)


def _path_of_strengths(choice: Choice) -> Curve:
    trials = choice.trials[::-1]
    return Curve(
        "Path of strengths",
        "strength of L2",
        "accuracy",
        tuple(trial.strength for trial in trials),
        {
            "learned from": tuple(trial.train_accuracy for trial in trials),
            "chosen by": tuple(trial.accuracy for trial in trials),
        },
        logarithmic=True,
    )


def _learning_curve(
    regression: Regression, data: Data, best: Trial, judge: int, folds: NDArray[np.int64]
) -> Curve:
    """Accuracy with one quarter of the photos to learn from, with two, and so on."""
    counts, found = [], []
    learned = [fold for fold in range(_QUARTERS) if fold != judge and (folds == fold).any()]
    for number in range(1, len(learned) + 1):
        unused = {judge, *learned[number:]}
        coefficients = best.coefficients
        if number < len(learned):
            coefficients = regression.fit(best.strength, unused, coefficients, ROUGH)
        rows, logits = regression.logits(coefficients, judge)
        counts.append(float(np.isin(folds, learned[:number]).sum()))
        found.append(accuracy(logits, data.targets[rows]))
    return Curve(
        "Learning curve", "photos to learn from", "accuracy", tuple(counts),
        {"chosen by": tuple(found)},
    )  # fmt: skip
