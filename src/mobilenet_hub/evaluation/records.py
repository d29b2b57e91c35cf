"""What is measured and reported: photos of known classes and what a classifier says of each.

```python
predictions = Predictions(items, truth, probabilities)  # row i of each is photo i
test = Evaluation("test", "Photos that nothing saw before.", predictions)
report = Report("Bees and ants", ("ants", "bees"), (test,))
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import InputError
from mobilenet_hub.pipeline.sources.items import Item


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Photos whose classes are known, and what a classifier says of them; row i is photo i.

    Attributes:
        items: where their bytes are; their ids name them in reports.
        truth: the class of each: int [photos], from 0 to classes − 1; or, of a multi-label
            classifier, bool [photos, classes].
        probabilities: float32 [photos, classes] in [0, 1], after temperature: the softmax of each
            row, or, multi-label, sigmoids. What is predicted is the highest, the first of equals;
            multi-label, each of at least 0.5.
        uncalibrated: the same before temperature; None where there is none (or it is 1).
        reject_scores: float32 [photos] cosine in [-1, 1] to the nearest prototype, which a reject
            threshold is compared with: below it a photo is called unknown; None without prototypes.

    Raises:
        InputError: arrays that do not fit each other.
    """

    items: Sequence[Item]
    truth: NDArray[Any]
    probabilities: NDArray[np.float32]
    uncalibrated: NDArray[np.float32] | None = None
    reject_scores: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        shape = self.probabilities.shape
        if len(shape) != 2 or len(self.items) != shape[0]:
            raise InputError(
                f"expected probabilities [{len(self.items)}, classes]. Received: {shape}"
            )
        wanted = shape if self.multi_label else shape[:1]
        if self.truth.shape != wanted or self.truth.dtype.kind not in "biu":
            raise InputError(
                f"expected classes as int [{shape[0]}] or bool {[*shape]}. "
                f"Received: {self.truth.dtype} {[*self.truth.shape]}"
            )
        if not self.multi_label and not np.all((self.truth >= 0) & (self.truth < shape[1])):
            raise InputError(f"expected classes from 0 to {shape[1] - 1}. Received: others")
        if self.uncalibrated is not None and self.uncalibrated.shape != shape:
            raise InputError(
                f"expected uncalibrated {[*shape]}. Received: {[*self.uncalibrated.shape]}"
            )
        if self.reject_scores is not None and self.reject_scores.shape != shape[:1]:
            raise InputError(
                f"expected reject_scores [{shape[0]}]. Received: {[*self.reject_scores.shape]}"
            )

    @property
    def multi_label(self) -> bool:
        """Whether a photo may have any number of classes."""
        return self.truth.dtype == np.bool_

    def only(self, rows: NDArray[np.intp]) -> Predictions:
        """Some of the photos, by their rows."""
        before, scores = self.uncalibrated, self.reject_scores
        return Predictions(
            [self.items[row] for row in rows],
            self.truth[rows],
            self.probabilities[rows],
            None if before is None else before[rows],
            None if scores is None else scores[rows],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Photos that a classifier was tried on.

    Attributes:
        name: `test`, `validation`, `nested cross-validation`, ...
        explanation: a sentence for people: which photos these are, and what was fitted, chosen or
            calibrated on them: `No photo of these was seen before.`
        predictions: of them.
        repeats: how often each photo is among them, for repeated cross-validation: intervals count
            a photo once.
        by_others: whether other heads than the finished classifier's answered, none of which had
            seen its photo.
    """

    name: str
    explanation: str
    predictions: Predictions
    repeats: int = 1
    by_others: bool = False


@dataclass(frozen=True, slots=True)
class Curve:
    """Lines over one axis: loss by epoch, accuracy by strength of regularisation.

    Attributes:
        title: above it.
        x_label, y_label: names of the axes.
        x: increasing; where it is `logarithmic`, positive.
        lines: name to as many values.
        logarithmic: whether the axis of x is.
        chosen: the x that was chosen among them, marked in the drawing; None without.
    """

    title: str
    x_label: str
    y_label: str
    x: tuple[float, ...]
    lines: Mapping[str, tuple[float, ...]]
    logarithmic: bool = False
    chosen: float | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """Things that people should see one by one: unreadable photos, near copies across sides.

    Attributes:
        title: above them.
        explanation: a sentence.
        columns: names of the columns.
        rows: their texts, all of them; the page shows the first hundreds and counts the others.
    """

    title: str
    explanation: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """All that the page of a classifier shows.

    Attributes:
        title: of the page.
        labels: names of the classes, as many as probabilities have columns.
        evaluations: the first is the headline, drawn with all its detail; of the others the page
            gives the figures. (Another may be the same photos without near copies.)
        out_of_fold: of the photos trained on: what was said of each by a classifier that was not
            trained on it. Ranks suspect labels (`suspects.find_suspects`).
        reject_threshold: on `reject_scores`; None where nothing is rejected.
        unknown_scores: float32 [photos] reject scores of photos of none of the classes.
        curves: learning curves, the path of strengths.
        notes: sentences to be read first: warnings, why cross-validation was used.
        listings: see `Listing`.
        facts: heading (`Settings`, `Versions`, `Hashes`) to name and value, in order. Nothing that
            differs between equal runs: no times, no absolute paths.
    """

    title: str
    labels: Sequence[str]
    evaluations: tuple[Evaluation, ...]
    out_of_fold: Predictions | None = None
    reject_threshold: float | None = None
    unknown_scores: NDArray[np.float32] | None = None
    curves: tuple[Curve, ...] = ()
    notes: tuple[str, ...] = ()
    listings: tuple[Listing, ...] = ()
    facts: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.evaluations:
            raise InputError("a report needs an evaluation. Received: none")
        for evaluation in self.evaluations:
            if (columns := evaluation.predictions.probabilities.shape[1]) != len(self.labels):
                raise InputError(f"expected {columns} labels. Received: {len(self.labels)}")
