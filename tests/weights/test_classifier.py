"""A classifier is weights that carry their labels, and whatever else belongs to them."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

import mobilenet_hub as hub
from classifier_support import random_classifier
from mobilenet_hub.errors import InputError, TensorMismatchError, WeightsError
from mobilenet_hub.networks import network
from mobilenet_hub.settings import PreprocessingSettings
from mobilenet_hub.weights import from_tensors, load
from mobilenet_hub.weights.canonical import Weights, fingerprint, to_bytes
from mobilenet_hub.weights.classifier import ClassifierSettings, Hidden, make_classifier
from mobilenet_hub.weights.random_weights import random_weights
from mobilenet_hub.weights.readers import read

SETTINGS = ClassifierSettings(
    ("ant", "bee", "crème brûlée\n"), PreprocessingSettings(128, 128, "none", "tf1"), "sigmoid",
    1.5, 0.25, "bf16", (0.0, 1.0),
)  # fmt: skip
IMAGES = np.random.default_rng(0).random((3, 128, 128, 3), np.float32)


@pytest.fixture(scope="module")
def classifier():
    return random_classifier(settings=SETTINGS, prototypes=5, hidden=7)


def test_settings_survive_metadata():
    metadata = SETTINGS.to_metadata()
    assert all(isinstance(text, str) for text in metadata.values())
    assert ClassifierSettings.from_metadata(json.loads(json.dumps(metadata))) == SETTINGS
    assert ClassifierSettings.from_metadata({"labels": '["a"]'}) == ClassifierSettings(("a",))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels", "[]"), ("labels", "[1]"), ("labels", '"ab"'), ("labels", "{"),
        ("labels", "[" * 100_000), ("activation", "tanh"), ("temperature", "0"),
        ("temperature", "NaN"), ("temperature", "true"), ("temperature", '"1"'),
        ("reject_threshold", "1.5"), ("reject_threshold", "[]"), ("precision", "float1"),
        ("input_range", "[1, 0]"), ("input_range", "[0, 1, 2]"), ("input_range", "3"),
        ("input_range", "[0, Infinity]"), ("preprocessing", "[]"), ("preprocessing", "{}"),
        ("preprocessing", '{"height": 9, "width": 9, "crop": "odd"}'),
        ("preprocessing", '{"height": 1000000, "width": 1000000}'),
        ("preprocessing", '{"height": "9", "width": 9}'),
    ],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(name, text):
    metadata = {"labels": '["a", "b"]', name: text}
    with pytest.raises((ValueError, RecursionError)):
        ClassifierSettings.from_metadata(metadata)
    tensors = random_weights(network("mobilenet_v1", 0.25, 2)).tensors
    with pytest.raises(WeightsError, match="does not fit"):
        from_tensors(tensors, metadata=metadata)


def test_a_file_cannot_raise_the_limit_of_pixels():
    preprocessing = json.dumps({"height": 9, "width": 9, "max_pixels": 10**15})
    metadata = {"labels": '["a"]', "preprocessing": preprocessing}
    assert ClassifierSettings.from_metadata(metadata).preprocessing == PreprocessingSettings(9, 9)


def test_a_classifier_is_what_it_was_made_of_after_saving(classifier, tmp_path):
    digest = classifier.save(tmp_path / "model.safetensors")
    for again in (
        load(tmp_path / "model.safetensors", sha256=digest),
        read(tmp_path / "model.safetensors"),
        read(tmp_path),
        pickle.loads(pickle.dumps(classifier)),
        copy.deepcopy(classifier),
        classifier.with_metadata(),
    ):
        assert again.classifier == SETTINGS
        assert again.labels == SETTINGS.labels
        assert again.network == classifier.network
        np.testing.assert_array_equal(again.prototypes, classifier.prototypes)
        assert all(np.array_equal(again.tensors[n], v) for n, v in classifier.tensors.items())
    assert fingerprint(load(tmp_path / "model.safetensors")) == fingerprint(classifier) == digest


def test_whatever_belongs_to_it_changes_its_fingerprint(classifier):
    prototypes = classifier.prototypes[::-1]
    other = Weights(
        classifier.network, classifier.tensors, classifier.metadata, prototypes=prototypes
    )
    assert fingerprint(other) != fingerprint(classifier)
    warmer = classifier.with_metadata(temperature="2.0")
    assert warmer.classifier.temperature == 2
    assert fingerprint(warmer) != fingerprint(classifier)
    assert to_bytes(classifier.with_metadata()) == to_bytes(classifier)


def test_its_head_computes_what_its_layers_say(classifier):
    module = hub.Module(classifier.metadata["handle"], weights=classifier, precision="float32")
    features = module(IMAGES, signature="image_feature_vector")
    (first, its), (second, last) = (
        (classifier.tensors[layer.weights_name][0, 0], classifier.tensors[f"{layer.scope}/biases"])
        for layer in classifier.network.head
    )
    expected = np.maximum(features @ first + its, 0) @ second + last
    np.testing.assert_allclose(module(IMAGES), expected, rtol=1e-4, atol=1e-4)
    assert module.labels == SETTINGS.labels
    assert module.preprocessing == hub.Preprocessing(128, 128, "none", "tf1")


def test_another_input_range_is_that_of_the_pixels():
    settings = ClassifierSettings(("a", "b"), input_range=(0.0, 1.0))
    own = random_classifier(settings=settings)
    usual = random_classifier(settings=ClassifierSettings(("a", "b")))
    handle = own.metadata["handle"]
    moved = hub.Module(handle, weights=own)((IMAGES * 255).astype(np.uint8))
    scaled = (IMAGES * 255).astype(np.uint8).astype(np.float32) / 255
    expected = hub.Module(handle, weights=usual)((scaled + 1) / 2)
    np.testing.assert_allclose(moved, expected, rtol=1e-4, atol=1e-5)


def test_it_is_of_the_classification_module_of_its_size():
    backbone = hub.Module("google/imagenet/mobilenet_v2_035_224/feature_vector/5").weights
    kernel, biases = np.zeros((1280, 2), np.float32), np.zeros(2, np.float32)
    made = make_classifier(backbone, kernel, biases, ClassifierSettings(("a", "b")))
    assert made.metadata["handle"] == "google/imagenet/mobilenet_v2_035_224/classification/5"
    settings = ClassifierSettings(("a", "b"), PreprocessingSettings(96, 96))
    made = make_classifier(backbone, kernel, biases, settings)
    assert made.metadata["handle"] == "google/imagenet/mobilenet_v2_035_96/classification/5"
    assert "license" in made.metadata
    for size in ((97, 97), (96, 128)):
        settings = ClassifierSettings(("a", "b"), PreprocessingSettings(*size))
        with pytest.raises(WeightsError, match="takes images of 96×96"):
            make_classifier(backbone, kernel, biases, settings)
    with pytest.raises(WeightsError, match="preprocessing says which"):
        make_classifier(
            random_weights(backbone.network), kernel, biases, ClassifierSettings(("a", "b"))
        )


def test_a_classifier_made_of_a_classifier_keeps_nothing_of_its_head(classifier):
    kernel, biases = np.zeros((256, 2), np.float32), np.zeros(2, np.float32)
    made = make_classifier(classifier, kernel, biases, ClassifierSettings(("x", "y")))
    assert made.classifier == ClassifierSettings(("x", "y"))
    assert (made.prototypes, made.network.hidden) == (None, None)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"prototypes": np.ones((2, 256), np.float32)}, "length 1"),
        ({"prototypes": np.full((2, 256), np.nan, np.float32)}, "length 1"),
        ({"prototypes": np.ones((2, 255), np.float32)}, r"\[number, 256\]"),
        ({"prototypes": np.ones((0, 256), np.float32)}, r"\[number, 256\]"),
        ({"settings": ClassifierSettings(("a", "b"), reject_threshold=0.5)}, "needs prototypes"),
    ],
)
def test_what_does_not_fit_is_refused(what, message):
    given = {"settings": ClassifierSettings(("a", "b")), **what}
    kernel, biases = np.zeros((256, 2), np.float32), np.zeros(2, np.float32)
    backbone = hub.Module("google/imagenet/mobilenet_v1_025_224/feature_vector/5").weights
    with pytest.raises(WeightsError, match=message):
        make_classifier(backbone, kernel, biases, given.pop("settings"), **given)


def test_heads_that_do_not_fit_are_refused():
    backbone = random_classifier()
    kernel, biases = np.zeros((256, 3), np.float32), np.zeros(2, np.float32)
    settings = ClassifierSettings(("a", "b"))
    with pytest.raises(TensorMismatchError, match="Conv2d_1c_1x1/weights"):
        make_classifier(backbone, kernel, biases, settings)
    hidden = Hidden(np.zeros((255, 4), np.float32), np.zeros(4, np.float32))
    with pytest.raises(TensorMismatchError, match="Hidden/weights"):
        make_classifier(backbone, np.zeros((4, 2)), biases, settings, hidden=hidden)


def test_prototypes_belong_to_classifiers():
    weights = random_weights(network("mobilenet_v1", 0.25))
    with pytest.raises(WeightsError, match="belong to a classifier"):
        Weights(weights.network, weights.tensors, prototypes=np.eye(2, 256, dtype=np.float32))


def test_settings_are_checked_where_they_are_made():
    with pytest.raises(InputError, match="temperature must be positive"):
        ClassifierSettings(("a",), temperature=-1.0)
