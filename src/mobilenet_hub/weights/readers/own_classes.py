"""From the head that a reader found to a classifier: classes of somebody's own, or ImageNet's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mobilenet_hub.catalog import ModuleInfo
from mobilenet_hub.errors import WeightsError
from mobilenet_hub.networks import INPUT_RANGE, NUM_CLASSES
from mobilenet_hub.settings import ClassifierSettings, PreprocessingSettings
from mobilenet_hub.weights.background import with_1001_classes
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.readers.base import Array, Reading

_TWO_CLASSES = (
    "The file gives one probability, that of the second class; as two classes under softmax the "
    "first has a logit of 0."
)
_LEFT_OUT = "A head of other classes was left out: the features were asked for."


@dataclass(frozen=True, slots=True)
class Classes:
    """What the logits of a reading are.

    Attributes:
        tensors: of the reading, with the logits as canonical weights have them.
        notes: what was done to them, in sentences.
        settings: of a classifier of somebody's own; None for ImageNet's classes, and for none.
    """

    tensors: dict[str, Array]
    notes: tuple[str, ...] = ()
    settings: ClassifierSettings | None = None


def classes_of(
    reading: Reading, labels: Sequence[str] | None, where: str, *, features_only: bool
) -> Classes:
    """Whose classes the logits of a reading are.

    1000 or 1001 logits are those of ImageNet, unless somebody names them otherwise, or the file
    computes them in a way that the published networks do not.

    Args:
        reading: of a file; one that this library wrote says itself what its classes are.
        labels: what somebody calls them; None for what the file calls them, or numbers.
        where: the file, for error messages.
        features_only: leave out a head of classes that are not ImageNet's.

    Raises:
        WeightsError: labels and no logits, or not as many; images that are not scaled as a network
            takes them that has no classes of its own to be kept with.
    """
    tensors = dict(reading.tensors)
    biases = next((n for n in tensors if n.endswith("/Logits/Conv2d_1c_1x1/biases")), None)
    if biases is None or ("labels" in reading.metadata and labels is None):
        if labels is not None:
            raise WeightsError(
                f"{where} has no classes to be named. Received: {len(labels)} labels"
            )
        _check_range(reading, where)
        return Classes(tensors)
    number = len(tensors[biases])
    if labels is None and _is_imagenet(reading, number):
        _check_range(reading, where)
        return Classes(*with_1001_classes(tensors, where))
    if features_only:
        _check_range(reading, where)
        return Classes({n: a for n, a in tensors.items() if "/Logits/" not in n}, (_LEFT_OUT,))
    names = tuple(labels if labels is not None else reading.labels)
    notes: tuple[str, ...] = ()
    activation = reading.activation or ("softmax" if number > 1 else "sigmoid")
    if number == 1 and activation == "sigmoid" and len(names) != 1:
        tensors, number, activation, notes = _as_two(tensors, biases), 2, "softmax", (_TWO_CLASSES,)
    names = names or tuple(map(str, range(number)))
    if len(names) != number:
        raise WeightsError(
            f"{where}: expected {number} labels, one for each class. Received: {len(names)}"
        )
    settings = ClassifierSettings(names, activation=activation, input_range=reading.input_range)
    return Classes(tensors, notes, settings)


def with_preprocessing(
    weights: Weights, reading: Reading, possible: list[ModuleInfo]
) -> tuple[Weights, list[ModuleInfo]]:
    """A classifier with the way that its pictures came to their size, where both are known.

    Args:
        weights: as they were read.
        reading: that they are of.
        possible: the modules that they may be of.

    Returns:
        The weights; and the modules, of which one is chosen where any would do: of a network that
        takes images of every size, where the file tells one that none is published for.

    Raises:
        WeightsError: it takes images of a size that no module of its network does.
    """
    size = reading.image_size or (possible[0].image_size if len(possible) == 1 else None)
    if weights.classifier is None or size is None:
        return weights, possible
    sizes = sorted({record.image_size for record in possible})
    if size not in sizes and possible[0].fixed_size:
        wanted = ", ".join(f"{each}×{each}" for each in sizes)
        raise WeightsError(
            f"{weights.metadata.get('source')} takes images of a size that no module of its "
            f"network does: expected {wanted}. Received: {size}×{size}"
        )
    chosen = possible if size in sizes else possible[:1]
    if len(chosen) == 1:
        weights = weights.with_metadata(handle=chosen[0].handle)
    settings = weights.classifier
    if reading.crop is None or settings is None:
        return weights, chosen
    how = PreprocessingSettings(size, size, reading.crop, reading.resample)
    return weights.with_metadata(**replace(settings, preprocessing=how).to_metadata()), chosen


def _is_imagenet(reading: Reading, number: int) -> bool:
    has_hidden = any("/Logits/Hidden/" in name for name in reading.tensors)
    return (
        number in (NUM_CLASSES, NUM_CLASSES - 1)
        and not has_hidden
        and reading.activation != "sigmoid"
    )


def _as_two(tensors: dict[str, Array], biases: str) -> dict[str, Array]:
    """The softmax of 0 and z is 1 - sigmoid(z) and sigmoid(z)."""
    weights = biases.replace("/biases", "/weights")
    before = {name: np.zeros_like(tensors[name]) for name in (weights, biases)}
    return tensors | {
        name: np.concatenate([zeros, tensors[name]], axis=-1) for name, zeros in before.items()
    }


def _check_range(reading: Reading, where: str) -> None:
    if reading.input_range != INPUT_RANGE:
        low, high = reading.input_range
        raise WeightsError(
            f"{where} brings images to another range than the published networks take, and has no "
            f"classes of its own with which that could be kept: expected [-1, 1]. "
            f"Received: [{low:.6g}, {high:.6g}]"
        )
