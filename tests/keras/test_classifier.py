"""Classifiers in Keras: with their head, or the features before it."""

from __future__ import annotations

import numpy as np
import pytest

import mobilenet_hub as hub
from classifier_support import INFO, random_classifier
from mobilenet_hub.settings import PreprocessingSettings
from mobilenet_hub.weights.classifier import ClassifierSettings

keras = pytest.importorskip("keras")

SETTINGS = ClassifierSettings(
    ("ant", "bee", "cow"), PreprocessingSettings(128, 128, "none"), "sigmoid", 2.0, 0.5,
    input_range=(0.0, 1.0),
)  # fmt: skip
IMAGES = np.random.default_rng(0).random((2, 128, 128, 3), np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    random_classifier(SETTINGS, prototypes=3, hidden=6).save(folder / "model.safetensors")
    return folder


def numpy(value):
    return keras.ops.convert_to_numpy(value)


def test_a_layer_of_a_folder_has_its_head(folder):
    layer = hub.KerasLayer(str(folder))
    np.testing.assert_allclose(
        numpy(layer(IMAGES)), hub.Module(folder)(IMAGES), rtol=1e-3, atol=1e-4
    )


def test_its_features_are_had_by_their_signature(folder):
    layer = hub.KerasLayer(str(folder), signature="image_feature_vector", output_key="default")
    expected = hub.Module(folder)(IMAGES, signature="image_feature_vector")
    np.testing.assert_allclose(numpy(layer(IMAGES)), expected, rtol=1e-3, atol=1e-4)


def test_a_layer_nobody_trained_exports_the_classifier_as_it_was(folder, tmp_path):
    layer = hub.KerasLayer(str(folder), trainable=True)
    layer.export(tmp_path / "again.safetensors")
    again = hub.Module(tmp_path / "again.safetensors").weights
    assert again.classifier == SETTINGS
    np.testing.assert_array_equal(again.prototypes, hub.Module(folder).weights.prototypes)


def test_training_leaves_labels_and_drops_what_was_fitted_to_the_weights_before(folder):
    layer = hub.KerasLayer(str(folder), trainable=True)
    kernel = layer.network_layer.head[-1].kernel
    kernel.assign(kernel * 2)
    weights = layer.current_weights()
    assert weights.classifier == ClassifierSettings(
        SETTINGS.labels, SETTINGS.preprocessing, "sigmoid", input_range=(0.0, 1.0)
    )
    assert weights.prototypes is None
    assert hub.Module(INFO.handle, weights=weights).labels == SETTINGS.labels


def test_a_saved_model_has_the_head_again_and_its_labels(folder, tmp_path):
    model = keras.Sequential([keras.Input((128, 128, 3)), hub.KerasLayer(str(folder))])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0))
    weights = again.layers[-1].current_weights()
    assert weights.labels == SETTINGS.labels
    assert weights.network == hub.Module(folder).weights.network
