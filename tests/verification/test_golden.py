"""Golden outputs: which weights have them, and what they are."""

from __future__ import annotations

import numpy as np
import pytest

from mobilenet_hub.catalog import find
from mobilenet_hub.verification.golden import golden_images, golden_of
from mobilenet_hub.weights import from_tensors
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.storage.store import load_weights
from places import DATA

REFERENCE = np.load(DATA / "real_weights_inference.npz")


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("mobilenet_v2_140_224", "classification"),
        ("mobilenet_v2_100_224", "feature_vector"),
        ("mobilenet_v2_035_224", "feature_vector"),
        ("mobilenet_v1_025_224", "classification"),
    ],
)
def test_all_weights_in_the_package_have_the_outputs_of_the_original_network(name, task):
    weights = load_weights(find(f"google/imagenet/{name}/{task}"))
    golden = golden_of(weights)
    assert golden.name == name
    np.testing.assert_array_equal(golden.features, REFERENCE[f"{name}/features"])
    assert (golden.logits is not None) == weights.has_logits
    if f"{name}/logits" in REFERENCE:
        np.testing.assert_array_equal(golden.logits, REFERENCE[f"{name}/logits"])


def test_one_changed_weight_makes_them_weights_without_golden_outputs():
    weights = load_weights(find("google/imagenet/mobilenet_v2_035_224/feature_vector"))
    tensors = dict(weights.tensors)
    name = "MobilenetV2/Conv/weights"
    tensors[name] = tensors[name].copy()
    tensors[name].flat[0] = np.nextafter(tensors[name].flat[0], np.float32(1))
    assert golden_of(weights) is not None
    assert golden_of(Weights(weights.network, tensors)) is None


def test_features_under_another_classifier_are_golden_still():
    weights = load_weights(find("google/imagenet/mobilenet_v1_025_224/classification"))
    scope = weights.network.logits.scope
    tensors = {**weights.tensors, f"{scope}/biases": weights.tensors[f"{scope}/biases"] + 1}
    golden = golden_of(from_tensors(tensors))
    assert golden.features.shape == (4, 256)
    assert golden.logits is None


def test_the_images_are_those_of_the_reference():
    images = golden_images()
    assert images.shape == (4, 224, 224, 3) and images.dtype == np.float32
    assert images[0, 0, 0].tolist() == pytest.approx([0.5488135, 0.71518937, 0.60276338])
