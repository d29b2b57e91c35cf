"""The logit of class 0, "background", for networks that were published without it.

Google's classifiers have 1001 classes, of which 0 is "background": anything that is none of the
1000. Keras' conversions of the same checkpoints cut it off. To fit the modules' 1001 classes again
it is defined here, in one place, so that it can never be predicted and takes no probability.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.networks import NUM_CLASSES

Array = NDArray[np.float32]

# Features are means of ReLU6 outputs, so they lie in [0,6]; with them a logit cannot fall below
# `lower_bounds`, which for Keras' published networks is above -700. exp of the difference is 0.
BACKGROUND_BIAS = np.float32(-1e4)
MAX_FEATURE = 6.0

NOTE = (
    "The file has 1000 classes. Class 0, background, was added with kernel 0 and bias -10000: "
    "it is never predicted and its probability is 0."
)


def lower_bounds(kernel: NDArray[np.float32], biases: NDArray[np.float32]) -> NDArray[np.float64]:
    """The least value that each logit can have for any features in [0,6].

    Args:
        kernel: float32 [1, 1, features, classes].
        biases: float32 [classes].

    Returns:
        float64 [classes]: the bias, and 6 times every negative weight.
    """
    negative = np.minimum(kernel, 0).sum(axis=(0, 1, 2), dtype=np.float64)
    return np.asarray(biases.astype(np.float64) + MAX_FEATURE * negative)


def with_1001_classes(
    tensors: Mapping[str, Array], where: str
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """The logits of a network of 1000 classes with their background class; others as they are.

    Args:
        tensors: by their TF-Slim names.
        where: the file, for the error message.

    Returns:
        All tensors, and what was done to the logits, in sentences.

    Raises:
        WeightsError: as `with_background`.
    """
    names = [name for name in tensors if "/Logits/Conv2d_1c_1x1/" in name]
    biases = next((name for name in names if name.endswith("/biases")), "")
    kernel = next((name for name in names if name.endswith("/weights")), "")
    if not (kernel and biases) or tensors[biases].shape != (NUM_CLASSES - 1,):
        return dict(tensors), ()
    both = with_background(tensors[kernel], tensors[biases], where)
    return {**tensors, kernel: both[0], biases: both[1]}, (NOTE,)


def with_background(
    kernel: NDArray[np.float32], biases: NDArray[np.float32], where: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Put the background class before 1000 others: a kernel column of zeros and its bias.

    Args:
        kernel: float32 [1, 1, features, 1000].
        biases: float32 [1000].
        where: the file, for the error message.

    Returns:
        Kernel float32 [1, 1, features, 1001] and biases float32 [1001].

    Raises:
        WeightsError: another number of classes, or logits that could fall as low as the new one
            (no trained network's do).
    """
    classes = NUM_CLASSES - 1
    if (
        kernel.ndim != 4
        or kernel.shape[:2] != (1, 1)
        or kernel.shape[3:] + biases.shape
        != (
            classes,
            classes,
        )
    ):
        raise WeightsError(
            f"{where}: expected a logits kernel [1, 1, features, {classes}] and {classes} biases. "
            f"Received: {kernel.shape} and {biases.shape}"
        )
    least = float(lower_bounds(kernel, biases).min())
    if not least > BACKGROUND_BIAS:
        raise WeightsError(
            f"{where}: the logits of a trained network stay above {BACKGROUND_BIAS:.0f} for every "
            f"image, and below that the background class is defined. Import the network without "
            f"its classification layer. Received: logits that reach {least:.4g}"
        )
    column = np.zeros((*kernel.shape[:3], 1), np.float32)
    return (
        np.concatenate([column, kernel], axis=3),
        np.concatenate([np.atleast_1d(BACKGROUND_BIAS), biases]),
    )
