"""What is told of a training: evaluations of it, the report's contents, the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.evaluation.intervals import Proportion
from mobilenet_hub.evaluation.metrics import Metrics, answers_right, measure
from mobilenet_hub.evaluation.records import Curve, Evaluation, Listing, Predictions, Report
from mobilenet_hub.evaluation.suspects import Suspect, find_suspects
from mobilenet_hub.pipeline.records import Failure
from mobilenet_hub.retraining.choosing import OutOfFold, probabilities
from mobilenet_hub.retraining.data.split import LEAST_TEST_PHOTOS
from mobilenet_hub.retraining.data.ties import Tie
from mobilenet_hub.retraining.learning import Fitted, has_test_side
from mobilenet_hub.retraining.records import Data

_TEST = "No photo of these was seen while anything was learned or chosen."
_VALIDATION = (
    "Strength, temperature and threshold were chosen on these photos, which flatters a little."
)
_NESTED = (
    "The photos that are not of the test side, in folds: what is said of each is by a head that "
    "never saw it nor a copy of it, whose strength and temperature were chosen without it too."
)
_OUT_OF_FOLD = "What is said of each photo is by a head that never saw it nor a copy of it."
_FINE_TUNED = _VALIDATION.replace("Strength", "The epoch, strength")


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """What a training found, before anybody looks at it.

    Attributes:
        data: the photos, with their sides.
        fitted: of the finished classifier.
        out_of_fold: what heads that had not seen them say of the photos.
        fine_tuned: whether more than the head was trained, which cross-validation does not repeat.
        leaks: ties across the sides of a given split.
        left_out: ids of photos that tied two sides together.
        failures: photos that could not be read.
        unknown_scores: float32, reject scores of photos of nothing that was trained; None where
            none were given.
        curves: of the learning.
        warnings: a sentence each.
        facts: heading to name and value.
    """

    data: Data
    fitted: Fitted
    out_of_fold: OutOfFold
    fine_tuned: bool
    leaks: Sequence[Tie]
    left_out: Sequence[str]
    failures: Sequence[Failure]
    unknown_scores: NDArray[np.float32] | None
    curves: tuple[Curve, ...]
    warnings: Sequence[str]
    facts: Mapping[str, Mapping[str, Any]]

    def evaluations(self) -> tuple[Evaluation, ...]:
        """The headline first: photos that nothing saw, where there are enough of them."""
        sides = np.asarray(self.data.sides)
        test, judges = sides == "test", sides == "val"
        found = []
        if has_test_side(self.data):
            found.append(Evaluation("test", _TEST, self._said_of(test)))
        elif not self.fine_tuned:
            name = "cross-validation"
            words = _OUT_OF_FOLD
            if self.out_of_fold.nested:
                name, words = "nested cross-validation", _NESTED
            repeats = len(self.out_of_fold.logits)
            found.append(Evaluation(name, words, self._said_by_others(), repeats, by_others=True))
        if judges.any():
            words = _FINE_TUNED if self.fine_tuned else _VALIDATION
            found.append(Evaluation("validation (chosen on)", words, self._said_of(judges)))
        if test.any() and not has_test_side(self.data):
            words = f"{_TEST} Fewer than {LEAST_TEST_PHOTOS} photos: the interval is wide."
            found.append(Evaluation("test", words, self._said_of(test)))
        leaked = np.zeros(len(sides), bool)
        leaked[[leak.row for leak in self.leaks]] = True
        for name, rows in (("test", test), ("validation", judges)):
            if leaked[rows].any() and not leaked[rows].all():
                words = "Without the photos that have a copy, or kin, on another side."
                found.append(
                    Evaluation(f"{name} without leaks", words, self._said_of(rows & ~leaked))
                )
        return tuple(found)

    def suspects(self) -> list[Suspect]:
        """Labels that are probably wrong; their rows are those of the data."""
        rows = np.flatnonzero(np.asarray(self.data.sides) != "test")
        of = self._out_of_fold_predictions()
        return [
            Suspect(
                int(rows[s.row]), s.given, s.likely, s.given_probability, s.likely_probability
            )
            for s in find_suspects(of)
        ]  # fmt: skip

    def report(self) -> Report:
        """What the page shows."""
        labels = self.data.labels
        return Report(
            f"{labels[0]} and {labels[1]}" if len(labels) == 2 else f"{len(labels)} classes",
            labels,
            self.evaluations(),
            out_of_fold=self._out_of_fold_predictions(),
            reject_threshold=self.fitted.reject_threshold,
            unknown_scores=self.unknown_scores,
            curves=self.curves,
            notes=tuple(self.notes()),
            listings=tuple(self._listings()),
            facts=self.facts,
        )

    def metrics(self, measured: Sequence[Metrics]) -> dict[str, Any]:
        """All figures, as they go into JSON, the headline first."""
        sides = self.data.sides or ()
        return {
            "headline": measured[0].name,
            "evaluations": [each.to_dict() for each in measured],
            "photos": {side: sides.count(side) for side in ("train", "val", "test")},
            "notes": list(self.notes()),
            "leaks": [self._leak(leak) for leak in self.leaks],
            "left_out": list(self.left_out),
            "failures": [
                {"id": failure.id, "stage": failure.stage, "reason": failure.reason}
                for failure in self.failures
            ],
            **{heading.lower(): dict(values) for heading, values in self.facts.items()},
        }

    def measured(self) -> list[Metrics]:
        """The figures of each evaluation."""
        return [
            measure(
                evaluation,
                self.data.labels,
                reject_threshold=self.fitted.reject_threshold,
                unknown_scores=self.unknown_scores,
            )
            for evaluation in self.evaluations()
        ]

    def notes(self) -> list[str]:
        """What is to be read first: warnings, and which figure the headline is and why."""
        notes = list(self.warnings)
        if has_test_side(self.data):
            return notes
        if self.fine_tuned:
            why = "The network was trained, which cross-validation cannot repeat: the headline is "
            return [*notes, f"{why}of the photos that the best epoch was chosen on, and flatters."]
        reason = (
            f"The test side has fewer than {LEAST_TEST_PHOTOS} photos"
            if "test" in (self.data.sides or ())
            else "There is no test side"
        )
        repeats = len(self.out_of_fold.logits)
        times = f", repeated {repeats} times" if repeats > 1 else ""
        notes.append(f"{reason}: the headline is cross-validation{times}.")
        return [*notes, *self._unlike()]

    def _unlike(self) -> list[str]:
        """A warning where photos kept apart are answered worse than cross-validation says.

        Series of the same thing flatter it: of each photo it has seen the neighbours.
        """
        judges = np.asarray(self.data.sides) == "val"
        if not judges.any():
            return []
        within = _share_right(self._said_by_others(), len(self.out_of_fold.logits))
        apart = _share_right(self._said_of(judges), 1)
        if apart.high >= within.low:
            return []
        return [
            f"The validation side is right in {apart} only, so its photos are unlike the others. "
            "Of new photos expect that rather than the headline, for which neighbours of each "
            "photo were learned from."
        ]

    def _said_of(self, rows: NDArray[np.bool_]) -> Predictions:
        at = np.flatnonzero(rows)
        logits = self.fitted.logits[at]
        return self._predictions(at, logits, logits / np.float32(self.fitted.temperature))

    def _said_by_others(self) -> Predictions:
        """Of all repeats, one after the other."""
        at = np.flatnonzero(np.asarray(self.data.sides) != "test")
        repeats, classes = len(self.out_of_fold.logits), len(self.data.labels)
        before = self.out_of_fold.logits[:, at].reshape(-1, classes)
        after = self.out_of_fold.calibrated[:, at].reshape(-1, classes)
        return self._predictions(np.tile(at, repeats), before, after)

    def _out_of_fold_predictions(self) -> Predictions:
        """Of all photos but the test side: the mean of the repeats."""
        at = np.flatnonzero(np.asarray(self.data.sides) != "test")
        logits = self.out_of_fold.logits[:, at].mean(axis=0)
        return self._predictions(at, logits, logits / np.float32(self.fitted.temperature))

    def _predictions(
        self, at: NDArray[np.intp], before: NDArray[np.float32], after: NDArray[np.float32]
    ) -> Predictions:
        multi_label = self.data.multi_label
        return Predictions(
            [self.data.items[row] for row in at],
            self.data.targets[at],
            probabilities(after, multi_label=multi_label),
            probabilities(before, multi_label=multi_label),
            self.fitted.scores[at],
        )

    def _leak(self, leak: Tie) -> dict[str, Any]:
        items, sides = self.data.items, self.data.sides or ()
        return {
            "id": items[leak.row].id, "side": sides[leak.row],
            "other_id": items[leak.other].id, "other_side": sides[leak.other],
            "reason": leak.reason, "similarity": round(leak.similarity, 4),
        }  # fmt: skip

    def _listings(self) -> list[Listing]:
        leaks = [tuple(map(str, self._leak(leak).values())) for leak in self.leaks]
        failures = [(each.id, each.stage, each.reason) for each in self.failures]
        listings = [
            Listing(
                "Leaks between the sides",
                "Photos to measure or choose with that are copies of others, or belong with them. "
                "The sides were given, and stay as they are.",
                ("photo", "side", "other photo", "its side", "why", "similarity"),
                leaks,
            ),
            Listing(
                "Left out of the split",
                "New photos that tie two sides of the earlier split together.",
                ("photo",),
                [(name,) for name in self.left_out],
            ),
            Listing(
                "Photos that could not be read", "They were skipped.",
                ("photo", "stage", "reason"), failures,
            ),
        ]  # fmt: skip
        return [listing for listing in listings if listing.rows]


def _share_right(of: Predictions, repeats: int) -> Proportion:
    right = answers_right(of)
    return Proportion.of(int(right.sum()), len(right), repeats=repeats)
