"""What the tests of the Keras wing share. They run on the backend that `KERAS_BACKEND` names."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from mobilenet_hub import find
from mobilenet_hub.weights.random_weights import random_weights

# On JAX, tests spend their time compiling programs that run once: compile them half as well, and
# keep those that several tests compile in the tests' own cache folder, which goes when they end.
QUICK_XLA = "--xla_backend_optimization_level=0"
if os.environ.get("KERAS_BACKEND") == "jax":
    import jax

    os.environ.setdefault("XLA_FLAGS", QUICK_XLA)
    if "MOBILENET_HUB_CACHE_DIR" in os.environ:
        folder = Path(os.environ["MOBILENET_HUB_CACHE_DIR"], "jax")
        jax.config.update("jax_compilation_cache_dir", str(folder))

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
