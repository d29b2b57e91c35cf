"""What the tests of the TensorFlow forms share."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from places import DATA

V1 = "google/imagenet/mobilenet_v1_025_224"
V2 = "google/imagenet/mobilenet_v2_035_224"
V2_LOGITS = "google/imagenet/mobilenet_v2_140_224"
INFERENCE = np.load(DATA / "real_weights_inference.npz")
TRAINING = np.load(DATA / "real_weights_training.npz")


def images(count=4, size=224, seed=0):
    """The oracle's images, for the defaults: float32 in [0,1]."""
    return np.random.RandomState(seed).rand(count, size, size, 3).astype(np.float32)


def reference(handle, what):
    """What the original network computed of `images()`: `features`, `logits`, `train/features`."""
    key = f"{handle.split('/')[2]}/{what}"
    return (TRAINING if "/train/" in key else INFERENCE)[key]


def largest_error(actual, expected):
    """The largest difference."""
    return np.abs(np.asarray(actual) - expected).max()


@contextmanager
def tf1_session():
    """A graph of its own and a session on it, as a program for TensorFlow 1 has them."""
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        yield session


def initialized(session):
    """The session, once it has run the initializer."""
    import tensorflow as tf

    session.run(tf.compat.v1.global_variables_initializer())
    return session
