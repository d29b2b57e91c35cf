"""The figures of a classifier: functions of arrays, and records that go into JSON.

```python
metrics = measure(evaluation, labels, reject_threshold=0.61)
print(metrics.top_1, metrics.macro_f1)
json.dumps(metrics.to_dict())
```

Equal predictions give equal figures, to the byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.evaluation.calibration import (
    CoveragePoint,
    Reliability,
    coverage_curve,
    coverage_point,
    reliability,
)
from mobilenet_hub.evaluation.intervals import Proportion, rounded_dict
from mobilenet_hub.evaluation.records import Evaluation, Predictions

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """The figures of one class.

    Attributes:
        label: its name.
        photos: how many are of it.
        predicted: how many were called it.
        correct: how many of them are it.
        average_precision: the mean precision over the ranks of its photos, by its probability;
            measured for multi-label only, of classes that have photos.
    """

    label: str
    photos: int
    predicted: int
    correct: int
    average_precision: float | None = None

    @property
    def precision(self) -> float | None:
        """The share of right ones among those called it; None where nothing was."""
        return self.correct / self.predicted if self.predicted else None

    @property
    def recall(self) -> float | None:
        """The share of its photos that were called it; None where it has none."""
        return self.correct / self.photos if self.photos else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of both; None where it has no photos and nothing was called it."""
        total = self.photos + self.predicted
        return 2 * self.correct / total if total else None

    def to_dict(self) -> dict[str, Any]:
        """The fields and shares as they go into JSON."""
        shares = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return rounded_dict({**asdict(self), **shares})


@dataclass(frozen=True, slots=True)
class Confusion:
    """Photos of one class that were taken for another."""

    truth: str
    predicted: str
    photos: int


@dataclass(frozen=True, slots=True, eq=False)
class Metrics:
    """The figures of an evaluation.

    Attributes:
        name: of the evaluation.
        photos: how many, each counted once.
        repeats: how often each is in the counts below.
        top_1: right answers: the class with the highest probability; multi-label, photos with
            exactly the right classes.
        top_5: photos whose class is among the five of the highest probability; None where there
            are no more than five classes, or several labels a photo.
        macro_f1: the mean F1 of the classes that have photos.
        macro_recall: the mean recall of these, also called balanced accuracy.
        micro_f1: F1 of all pairs of photo and class together; multi-label only.
        mean_average_precision: over classes that have photos; multi-label only.
        classes: the figures of each, in the order of the labels.
        confusion: int64 [classes, classes]: photos of the class of the row that were taken for the
            class of the column; None for multi-label.
        uncalibrated: reliability before temperature; None without one.
        calibrated: reliability of the probabilities as they are given.
        coverage: by the highest probability; empty for multi-label.
        rejection: by the reject score, at the threshold of the classifier; None without one.
        rejection_curve: at other thresholds.
    """

    name: str
    photos: int
    repeats: int
    top_1: Proportion
    top_5: Proportion | None
    macro_f1: float
    macro_recall: float
    micro_f1: float | None
    mean_average_precision: float | None
    classes: tuple[ClassMetrics, ...]
    confusion: Counts | None
    uncalibrated: Reliability | None
    calibrated: Reliability
    coverage: tuple[CoveragePoint, ...]
    rejection: CoveragePoint | None
    rejection_curve: tuple[CoveragePoint, ...]

    def confused(self) -> list[Confusion]:
        """Pairs of classes that are taken for each other, most often first, then by label."""
        if self.confusion is None:
            return []
        labels = [each.label for each in self.classes]
        wrong = self.confusion - np.diag(np.diag(self.confusion))
        pairs = [
            Confusion(labels[truth], labels[predicted], int(wrong[truth, predicted]))
            for truth, predicted in np.argwhere(wrong)
        ]
        return sorted(pairs, key=lambda pair: (-pair.photos, pair.truth, pair.predicted))

    def to_dict(self) -> dict[str, Any]:
        """All of it as it goes into JSON; of classes, those that have photos or predictions."""
        seen = [each for each in self.classes if each.photos or each.predicted]
        return rounded_dict({
            "name": self.name,
            "photos": self.photos,
            "repeats": self.repeats,
            "top_1": self.top_1.to_dict(),
            "top_5": self.top_5 and self.top_5.to_dict(),
            "macro_f1": self.macro_f1,
            "macro_recall": self.macro_recall,
            "micro_f1": self.micro_f1,
            "mean_average_precision": self.mean_average_precision,
            "expected_calibration_error": self.calibrated.error,
            "classes": [each.to_dict() for each in seen],
            "confused": [asdict(pair) for pair in self.confused()],
            "uncalibrated": self.uncalibrated and self.uncalibrated.to_dict(),
            "calibrated": self.calibrated.to_dict(),
            "coverage": [point.to_dict() for point in self.coverage],
            "rejection": self.rejection and self.rejection.to_dict(),
            "rejection_curve": [point.to_dict() for point in self.rejection_curve],
        })  # fmt: skip


def measure(
    evaluation: Evaluation,
    labels: Sequence[str],
    *,
    reject_threshold: float | None = None,
    unknown_scores: NDArray[np.float32] | None = None,
) -> Metrics:
    """All figures of an evaluation.

    Args:
        evaluation: what was predicted of which photos.
        labels: names of the classes.
        reject_threshold: of the classifier.
        unknown_scores: float32 [others] reject scores of photos of none of the classes.
    """
    of, repeats = evaluation.predictions, evaluation.repeats
    right = answers_right(of)
    classes = class_metrics(of, labels)
    with_photos = [each for each in classes if each.photos]
    correct = sum(each.correct for each in classes)
    total = sum(each.photos + each.predicted for each in classes)
    average = [x.average_precision for x in with_photos if x.average_precision is not None]
    uncalibrated = None if of.uncalibrated is None else _reliability(of, of.uncalibrated)
    rejection: CoveragePoint | None = None
    rejection_curve: tuple[CoveragePoint, ...] = ()
    if of.reject_scores is not None and reject_threshold is not None:
        scores = (of.reject_scores, right, unknown_scores)
        rejection = coverage_point(reject_threshold, *scores)
        rejection_curve = coverage_curve(*scores)
    return Metrics(
        name=evaluation.name,
        photos=len(of.items) // repeats,
        repeats=repeats,
        top_1=Proportion.of(int(right.sum()), len(right), repeats=repeats),
        top_5=_top_5(of, repeats),
        macro_f1=_mean([each.f1 for each in with_photos]),
        macro_recall=_mean([each.recall for each in with_photos]),
        micro_f1=2 * correct / max(total, 1) if of.multi_label else None,
        mean_average_precision=_mean(average) if of.multi_label else None,
        classes=classes,
        confusion=None if of.multi_label else confusion_matrix(of),
        uncalibrated=uncalibrated,
        calibrated=_reliability(of, of.probabilities),
        coverage=() if of.multi_label else coverage_curve(of.probabilities.max(axis=1), right),
        rejection=rejection,
        rejection_curve=rejection_curve,
    )


def answers_right(of: Predictions) -> NDArray[np.bool_]:
    """Whether each photo was called what it is: bool [photos]."""
    same = np.asarray(predicted_classes(of) == of.truth)
    return np.asarray(same.all(axis=1)) if of.multi_label else same


def predicted_classes(of: Predictions) -> NDArray[Any]:
    """What each photo was called: int64 [photos], or bool [photos, classes] for multi-label."""
    return of.probabilities >= 0.5 if of.multi_label else of.probabilities.argmax(axis=1)


def confusion_matrix(of: Predictions) -> Counts:
    """int64 [classes, classes]: photos of the class of the row, called that of the column."""
    classes = of.probabilities.shape[1]
    place = of.truth.astype(np.int64) * classes + predicted_classes(of)
    return np.bincount(place, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def class_metrics(of: Predictions, labels: Sequence[str]) -> tuple[ClassMetrics, ...]:
    """The figures of each class, in the order of the labels."""
    predicted, classes = predicted_classes(of), len(labels)
    precisions: Sequence[float | None] = [None] * classes
    if of.multi_label:
        columns = [predicted, of.truth, predicted & of.truth]
        called, photos, correct = (column.sum(axis=0).tolist() for column in columns)
        precisions = [
            average_precision(of.probabilities[:, at], of.truth[:, at]) for at in range(classes)
        ]
    else:
        called, photos, correct = (
            np.bincount(chosen, minlength=classes).tolist()
            for chosen in (predicted, of.truth, predicted[predicted == of.truth])
        )
    rows = zip(labels, photos, called, correct, precisions, strict=True)
    return tuple(ClassMetrics(*row) for row in rows)


def average_precision(scores: NDArray[Any], truth: NDArray[np.bool_]) -> float | None:
    """The area below precision over recall, in steps: 1 where all of the class come first.

    Args:
        scores: [photos]; equal ones count as one step.
        truth: bool [photos].

    Returns:
        None where no photo is of the class.
    """
    if not truth.any():
        return None
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # of equal scores
    found = np.cumsum(truth[order])[ends]
    return float(np.sum(np.diff(found, prepend=0) * found / (ends + 1)) / truth.sum())


def _top_5(of: Predictions, repeats: int) -> Proportion | None:
    if of.multi_label or of.probabilities.shape[1] <= 5:
        return None
    own = np.take_along_axis(of.probabilities, of.truth.astype(np.int64)[:, None], axis=1)
    earlier = np.arange(of.probabilities.shape[1]) < of.truth[:, None]
    before = (of.probabilities > own) | ((of.probabilities == own) & earlier)
    among = before.sum(axis=1) < 5
    return Proportion.of(int(among.sum()), len(among), repeats=repeats)


def _reliability(of: Predictions, probabilities: NDArray[np.float32]) -> Reliability:
    """Of what was said of each photo; multi-label, of each photo and class."""
    if of.multi_label:
        return reliability(probabilities.ravel(), of.truth.ravel())
    return reliability(probabilities.max(axis=1), probabilities.argmax(axis=1) == of.truth)


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else 0.0
