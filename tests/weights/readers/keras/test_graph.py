"""Classifiers of Keras are read with everything around their network, or refused in a sentence."""

from __future__ import annotations

import numpy as np
import pytest

import classifier_models as models
import mobilenet_hub as hub
from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.readers import read

keras = pytest.importorskip("keras")
layers = keras.layers


@pytest.fixture(scope="module", params=models.RANGES, ids=lambda build: build.__name__)
def built(request, tmp_path_factory):
    """A model, its paths in both formats of Keras 3, and the probabilities it gives."""
    folder = tmp_path_factory.mktemp("model")
    model = models.filled(request.param(keras))
    for name in ("a.keras", "a.h5"):
        model.save(folder / name)
    return request.param, folder, models.expected(model, request.param)


@pytest.mark.parametrize("name", ["a.keras", "a.h5"])
def test_its_probabilities_are_those_of_keras(built, name):
    build, folder, expected = built
    module = hub.Module(folder / name)
    assert module.labels == tuple(map(str, range(expected.shape[1])))
    probabilities = models.softmax(module(models.images()))
    assert probabilities.std(axis=0).min() > 1e-4  # the images are told apart
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    classifier = module.weights.classifier
    assert classifier.input_range == ((0, 1) if build is models.other_scaling else (-1, 1))
    assert classifier.preprocessing.crop == (
        "cover" if build is models.teachable_machine else "none"
    )
    assert classifier.preprocessing.height == models.SIZE


def test_a_classifier_of_two_classes_with_one_label_is_that_label_or_not(tmp_path):
    model = models.filled(models.binary(keras))
    model.save(tmp_path / "a.keras")
    weights = read(tmp_path / "a.keras", labels=["hot dog"])
    assert (weights.labels, weights.classifier.activation) == (("hot dog",), "sigmoid")
    logits = np.asarray(hub.Module(weights)(models.images()))
    outputs = model.predict(255 * models.images(), verbose=0)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), outputs, atol=1e-5)
    assert read(tmp_path / "a.keras", labels=["not", "hot dog"]).labels == ("not", "hot dog")


# What is refused --------------------------------------------------------------------------------


def sequence(*after, before=()):
    first = keras.Input((models.SIZE, models.SIZE, 3))
    return keras.Sequential([first, *before, models.backbone(keras), *after])


def two_outputs():
    network = models.backbone(keras, pooling="avg")
    outputs = [layers.Dense(2)(network.output), layers.Dense(4)(network.output)]
    return keras.Model(network.input, outputs)


POOL = layers.GlobalAveragePooling2D
REFUSED = {
    "maximum": (
        lambda: sequence(layers.GlobalMaxPooling2D(), layers.Dense(2)), "GlobalMaxPooling2D"
    ),
    "no pool": (lambda: sequence(layers.Flatten(), layers.Dense(2)), "mean of each channel"),
    "a part of the map": (
        lambda: sequence(layers.AveragePooling2D((2, 2)), layers.Flatten(), layers.Dense(2)),
        "of all 3×3 cells.*of 2×2",
    ),
    "two hidden layers": (
        lambda: sequence(POOL(), *[layers.Dense(8, "relu") for _ in "ab"], layers.Dense(2)),
        "at most two with ReLU between",
    ),
    "another activation": (
        lambda: sequence(POOL(), layers.Dense(8, activation="tanh"), layers.Dense(2)), "tanh"
    ),
    "softmax inside": (
        lambda: sequence(POOL(), layers.Dense(8, activation="softmax"), layers.Dense(2)),
        "nothing computed after softmax",
    ),
    "two outputs": (two_outputs, "one layer on the features"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_head_that_cannot_be_kept_is_refused_with_what_it_is(tmp_path, what):
    build, message = REFUSED[what]
    build().save(tmp_path / "a.keras")
    with pytest.raises(WeightsError, match=message) as caught:
        read(tmp_path / "a.keras")
    assert "\n" not in str(caught.value)
    handle = "google/imagenet/mobilenet_v2_035_96/feature_vector/5"
    assert not read(tmp_path / "a.keras", handle=handle).has_logits


def test_what_is_done_to_images_that_is_no_scaling_is_refused(tmp_path):
    model = sequence(
        POOL(), layers.Dense(2), before=[layers.Normalization(mean=[0, 1, 2], variance=[1, 1, 1])]
    )
    model.save(tmp_path / "a.keras")
    with pytest.raises(WeightsError, match=r"no more than a scale and a shift.*Normalization"):
        read(tmp_path / "a.keras")


def test_weights_alone_do_not_say_what_a_head_computes(tmp_path):
    sequence(POOL(), layers.Dense(2)).save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(WeightsError, match=r"a file that says what it computes.*\(1280, 2\)"):
        read(tmp_path / "a.weights.h5")
