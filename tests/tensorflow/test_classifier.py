"""Classifiers on TensorFlow: the same head, the same labels."""

from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import mobilenet_hub as hub  # noqa: E402
from classifier_support import random_classifier  # noqa: E402
from mobilenet_hub.tensorflow.loaded import load  # noqa: E402
from mobilenet_hub.weights.classifier import ClassifierSettings  # noqa: E402
from tensorflow_support import initialized  # noqa: E402

pytestmark = pytest.mark.tensorflow
SETTINGS = ClassifierSettings(
    ("ant", "bee"), temperature=2.0, reject_threshold=0.5, input_range=(0.0, 1.0)
)
IMAGES = np.random.default_rng(0).random((2, 128, 128, 3), np.float32)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("classifier") / "model.safetensors"
    random_classifier(SETTINGS, prototypes=3, hidden=6).save(path)
    return path


def test_a_loaded_classifier_computes_its_head(path):
    loaded = load(path)
    np.testing.assert_allclose(loaded(IMAGES), hub.Module(path)(IMAGES), rtol=1e-3, atol=1e-4)
    assert loaded.current_weights().classifier == SETTINGS
    loaded.trainable_variables[0].assign_add(tf.ones_like(loaded.trainable_variables[0]))
    trained = loaded.current_weights()
    assert trained.classifier == ClassifierSettings(SETTINGS.labels, input_range=(0.0, 1.0))
    assert trained.prototypes is None


def test_a_classifier_in_a_graph_keeps_its_labels(path):
    with tf.Graph().as_default():
        module = hub.Module(path)
        logits = module(tf.constant(IMAGES))
        with initialized(tf.compat.v1.Session()) as session:
            value = session.run(logits)
            weights = module.current_weights(session)
    np.testing.assert_allclose(value, hub.Module(path)(IMAGES), rtol=1e-3, atol=1e-4)
    assert weights.labels == SETTINGS.labels
