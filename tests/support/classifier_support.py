"""Classifiers of random weights, small and quick."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mobilenet_hub.catalog import find
from mobilenet_hub.weights.classifier import ClassifierSettings, Hidden, make_classifier
from mobilenet_hub.weights.random_weights import random_weights

INFO = find("google/imagenet/mobilenet_v1_025_128/classification/5")


def random_classifier(settings=None, *, info=INFO, prototypes=0, hidden=0, seed=0):
    """A classifier of random weights.

    Args:
        settings: of two classes, `ant` and `bee`, by default.
        info: of the module whose network it has.
        prototypes: how many; none for 0.
        hidden: units of its hidden layer; none for 0.
        seed: of the random numbers.
    """
    settings = settings or ClassifierSettings(("ant", "bee"))
    generator = np.random.default_rng(seed)

    def draw(*shape):
        return generator.standard_normal(shape).astype(np.float32)

    features = info.num_features
    directions = np.abs(draw(prototypes, features)) if prototypes else None
    if directions is not None:
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    backbone = random_weights(info.network, seed=seed, logits=False)
    handle = replace(info, task="feature_vector").handle
    classes = len(settings.labels)
    return make_classifier(
        backbone.with_metadata(handle=handle),
        draw(hidden or features, classes),
        draw(classes),
        settings,
        prototypes=directions,
        hidden=Hidden(draw(features, hidden) / 16, draw(hidden)) if hidden else None,
    )
