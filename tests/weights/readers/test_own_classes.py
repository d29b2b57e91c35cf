"""Whose the logits of a file are: ImageNet's, or somebody's own with what belongs to them."""

from __future__ import annotations

import numpy as np
import pytest

from mobilenet_hub.catalog import find
from mobilenet_hub.errors import WeightsError
from mobilenet_hub.networks import network
from mobilenet_hub.weights import from_tensors
from mobilenet_hub.weights.random_weights import random_weights
from mobilenet_hub.weights.readers.base import Reading
from mobilenet_hub.weights.readers.own_classes import classes_of, with_preprocessing

NET = network("mobilenet_v2", 0.35)


def reading(classes, **fields):
    tensors = dict(random_weights(network("mobilenet_v2", 0.35, classes)).tensors)
    return Reading(tensors, "x", **fields)


def classes(found, labels=None, *, features_only=False):
    return classes_of(found, labels, "here", features_only=features_only)


@pytest.mark.parametrize(
    ("number", "fields", "labels", "is_own"),
    [
        (1001, {}, None, False),
        (1000, {"activation": "softmax", "labels": ("a",) * 1000}, None, False),
        (1000, {}, [str(number) for number in range(1000)], True),
        (1001, {"activation": "sigmoid"}, None, True),
        (7, {}, None, True),
    ],
)
def test_a_thousand_classes_are_imagenets_unless_something_says_otherwise(
    number, fields, labels, is_own
):
    found = classes(reading(number, **fields), labels)
    assert (found.settings is not None) is is_own
    biases = found.tensors[f"{NET.logits.scope}/biases"]
    assert len(biases) == (number if is_own else 1001)


def test_one_probability_is_two_classes_or_one_label():
    two = classes(reading(1, activation="sigmoid"))
    assert two.settings.labels == ("0", "1") and two.settings.activation == "softmax"
    biases = two.tensors[f"{NET.logits.scope}/biases"]
    assert biases.shape == (2,) and biases[0] == 0
    assert not two.tensors[f"{NET.logits.scope}/weights"][..., 0].any()
    one = classes(reading(1, activation="sigmoid"), ["hot dog"])
    assert one.settings.labels == ("hot dog",) and one.settings.activation == "sigmoid"


def test_labels_belong_to_as_many_classes():
    assert classes(reading(2), ["a", "b"]).settings.labels == ("a", "b")
    assert classes(reading(2, labels=("c", "d"))).settings.labels == ("c", "d")
    with pytest.raises(WeightsError, match=r"expected 2 labels.*Received: 3"):
        classes(reading(2), ["a", "b", "c"])
    features = Reading(dict(random_weights(NET, logits=False).tensors), "x")
    with pytest.raises(WeightsError, match=r"no classes to be named.*2 labels"):
        classes(features, ["a", "b"])


def test_another_range_is_kept_with_classes_of_ones_own_and_refused_without():
    assert classes(reading(2, input_range=(0, 1))).settings.input_range == (0, 1)
    for found, only in ((reading(1001, input_range=(0, 1)), False),
                        (reading(2, input_range=(0, 1)), True)):  # fmt: skip
        with pytest.raises(WeightsError, match=r"expected \[-1, 1\]. Received: \[0, 1\]"):
            classes(found, features_only=only)


def test_features_alone_are_taken_when_they_are_asked_for():
    found = classes(reading(2), features_only=True)
    assert found.settings is None and "left out" in found.notes[0]
    assert not any("/Logits/" in name for name in found.tensors)


@pytest.mark.parametrize(("family", "size", "fits"), [("v2", 96, True), ("v2", 100, False)])
def test_the_size_of_the_pictures_is_one_that_the_network_takes(family, size, fits):
    found = reading(2, image_size=size, crop="none")
    own = classes(found)
    weights = from_tensors(own.tensors, metadata=own.settings.to_metadata())
    handles = [f"google/imagenet/mobilenet_{family}_035_{s}/classification/5" for s in (96, 224)]
    possible = [find(handle) for handle in handles]
    if not fits:
        with pytest.raises(WeightsError, match=r"expected 96×96, 224×224. Received: 100×100"):
            with_preprocessing(weights, found, possible)
        return
    weights, chosen = with_preprocessing(weights, found, possible)
    assert weights.classifier.preprocessing.height == size
    assert chosen == possible


def test_nothing_is_said_of_pictures_where_nothing_is_known():
    own = classes(reading(2))
    weights = from_tensors(own.tensors, metadata=own.settings.to_metadata())
    same, _ = with_preprocessing(weights, reading(2), [])
    assert same.classifier.preprocessing is None
    np.testing.assert_array_equal(*(w.tensors[NET.layers[0].weights_name] for w in (same, weights)))
