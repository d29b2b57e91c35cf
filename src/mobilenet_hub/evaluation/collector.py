"""From results of the pipeline to predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import InputError
from mobilenet_hub.evaluation.records import Predictions
from mobilenet_hub.inference import InferenceModule
from mobilenet_hub.pipeline.outputs import similarity
from mobilenet_hub.pipeline.records import Failure
from mobilenet_hub.pipeline.results import Counts, Results
from mobilenet_hub.pipeline.sources.items import BrokenItem, BytesItem, Item
from mobilenet_hub.settings import ClassifierSettings

_KEPT = 64  # photos that carry their bytes; others can be read again


class Collector:
    """Takes in what a classifier says of photos, batch by batch.

    Args:
        module: the classifier.
        reject: whether results have features, by which photos of none of the classes are told.

    Attributes:
        counts: of the photos so far.
        digests: the sha256 of each that could be read, in hexadecimal, where results have it.
        failures: those that could not be read.
    """

    def __init__(self, module: InferenceModule, *, reject: bool) -> None:
        self.counts = Counts()
        self.failures: list[Failure] = []
        self.digests: list[str] = []
        self._weights = module.current_weights()
        self._reject = reject
        self._items: list[Item] = []
        self._truth: list[tuple[int, ...]] = []
        self._probabilities: list[NDArray[np.float32]] = []
        self._reject_scores: list[NDArray[np.float32]] = []
        self._carried = 0

    def add(self, results: Results, photos: Sequence[tuple[Item, tuple[int, ...]]]) -> None:
        """Results of photos, each with the class that it is of, or the classes."""
        self.counts.add(results)
        rows: list[tuple[Item, tuple[int, ...]]] = []
        for outcome, photo in zip(results.outcomes, photos, strict=True):
            if outcome.stage is None:
                rows.append(photo)
                self.digests.append(outcome.sha256)
            else:
                failed = Failure(outcome.id, outcome.path, outcome.stage, outcome.reason)
                self.failures.append(failed)
        if not rows:
            return
        probabilities = np.empty_like(results.label_scores)
        np.put_along_axis(probabilities, results.label_indices, results.label_scores, axis=1)
        self._probabilities.append(probabilities)
        if self._reject:
            assert self._weights.prototypes is not None
            self._reject_scores.append(similarity(results.features, self._weights.prototypes))
        for (item, classes), answer in zip(rows, probabilities.argmax(axis=1), strict=True):
            self._items.append(self._kept(item, right=answer in classes))
            self._truth.append(classes)

    def _kept(self, item: Item, *, right: bool) -> Item:
        """An item to show later; one that carries its bytes only if it is wrong, and some of those.

        So memory does not depend on how many photos there are.
        """
        if not isinstance(item, BytesItem):
            return item
        self._carried += not right
        if not right and self._carried <= _KEPT:
            return item
        return BrokenItem(item.id, item.path, "read", "not kept")

    def predictions(self) -> Predictions:
        """Of all photos that could be read.

        Raises:
            InputError: there are none.
        """
        if not self._items:
            why = "no photo could be read" if self.failures else "no photos found"
            raise InputError(f"{why}: there is nothing to evaluate. Received: {self.counts}")
        probabilities = np.concatenate(self._probabilities)
        classifier = self._weights.classifier
        truth: NDArray[Any]
        if classifier is not None and classifier.activation == "sigmoid":
            truth = np.zeros(probabilities.shape, bool)
            for row, classes in enumerate(self._truth):
                truth[row, list(classes)] = True
        else:
            truth = np.array([only for (only,) in self._truth])
        return Predictions(
            self._items,
            truth,
            probabilities,
            before_temperature(probabilities, classifier),
            np.concatenate(self._reject_scores) if self._reject else None,
        )


def before_temperature(
    probabilities: NDArray[np.float32], classifier: ClassifierSettings | None
) -> NDArray[np.float32] | None:
    """What probabilities were before the classifier's temperature; None where it has none.

    Of probabilities p = softmax(logits / t), softmax(logits) is p to the power of t, scaled to sum
    1; of p = sigmoid(logit / t), the odds p / (1 − p) are to be raised to it.

    Args:
        probabilities: float32 [photos, classes].
        classifier: whose temperature and activation were applied.
    """
    if classifier is None or classifier.temperature == 1:
        return None
    powers = probabilities.astype(np.float64) ** classifier.temperature
    others = (1 - probabilities.astype(np.float64)) ** classifier.temperature
    sums = powers + others
    if classifier.activation == "softmax":
        sums = powers.sum(axis=1, keepdims=True)
    before: NDArray[np.float32] = (powers / sums).astype(np.float32)
    return before
