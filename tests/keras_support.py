"""What the tests of the Keras wing share. They run on the backend that `KERAS_BACKEND` names."""

from __future__ import annotations

import numpy as np

from mobilenet_hub import find
from mobilenet_hub.weights.random import random_weights

V1 = "google/imagenet/mobilenet_v1_025_224"
V2 = "google/imagenet/mobilenet_v2_035_224"


def images(count=4, height=224, width=None, seed=0):
    """The oracle's images, for the defaults: float32 in [0,1]."""
    shape = (count, height, width or height, 3)
    return np.random.RandomState(seed).rand(*shape).astype(np.float32)


def numpy_of(tensor):
    import keras

    return np.array(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(tensor)), np.float32)


def random_for(handle, *, num_classes=None, seed=0):
    """Weights made for a test."""
    from mobilenet_hub.networks import network

    info = find(handle)
    net = info.network
    if num_classes is not None:
        net = network(info.family, info.depth_multiplier, num_classes)
    return random_weights(net, seed=seed, logits=info.task == "classification")


def largest_relative_error(actual, expected):
    """The largest difference beside the largest expected value."""
    return np.abs(np.asarray(actual) - expected).max() / np.abs(expected).max()
