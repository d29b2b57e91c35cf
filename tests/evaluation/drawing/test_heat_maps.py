"""Heat maps are exact: their mean, plus the bias of the class, is its logit."""

from __future__ import annotations

import numpy as np
import pytest

from classifier_support import random_classifier
from mobilenet_hub.catalog import find
from mobilenet_hub.errors import InputError
from mobilenet_hub.evaluation.drawing.heat_maps import has_heat_maps, heat_maps, overlay
from mobilenet_hub.inference import InferenceModule
from mobilenet_hub.settings import ClassifierSettings
from pictures import SMALL_CLASSIFIER, picture

V2 = find("google/imagenet/mobilenet_v2_035_96/classification/5")


def images(size):
    return np.stack([np.asarray(picture(seed, (size, size))) for seed in range(3)])


@pytest.mark.parametrize("info", [find(SMALL_CLASSIFIER), V2])
def test_the_mean_of_the_cells_and_the_bias_are_the_logit(info):
    settings = ClassifierSettings(("ant", "bee", "cow"))
    weights = random_classifier(settings, info=info)
    module = InferenceModule(info, weights=weights)
    photos = images(info.image_size)
    classes = np.array([[0, 2], [1, 0], [2, 1]])
    maps = heat_maps(module, photos, classes)
    biases = weights.tensors[f"{weights.network.logits.scope}/biases"]
    logits = np.take_along_axis(module(photos), classes, axis=1)
    assert np.allclose(maps.mean(axis=(2, 3)) + biases[classes], logits, rtol=1e-4, atol=1e-4)
    assert maps.shape[2:] == (-(-info.image_size // 32),) * 2


def test_published_networks_have_heat_maps_too():
    module = InferenceModule(SMALL_CLASSIFIER)
    photos = images(224)
    logits = module(photos)
    classes = logits.argmax(axis=1)[:, None]
    maps = heat_maps(module, photos, classes)
    biases = module.weights.tensors[f"{module.weights.network.logits.scope}/biases"]
    means = maps.mean(axis=(2, 3)) + biases[classes]
    assert np.allclose(means, np.take_along_axis(logits, classes, axis=1), rtol=1e-4, atol=1e-4)


def test_a_hidden_layer_has_none_and_says_so():
    weights = random_classifier(hidden=8)
    assert not has_heat_maps(weights)
    module = InferenceModule("google/imagenet/mobilenet_v1_025_128/classification", weights=weights)
    with pytest.raises(InputError, match="one linear layer"):
        heat_maps(module, images(128), np.zeros((3, 1), int))


def test_colours_tell_for_from_against_and_opacity_how_much():
    colours = overlay(np.array([[4.0, -2.0], [0.0, 1.0]], np.float32), 4.0)
    (orange, blue), (nothing, little) = colours.tolist()
    assert orange[0] > orange[2]
    assert blue[2] > blue[0]
    assert orange[3] > blue[3] > little[3] > nothing[3] == 0
    assert overlay(np.zeros((2, 2), np.float32), 0.0)[..., 3].max() == 0
