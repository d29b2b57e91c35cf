"""From a network's outputs to what is asked for: unit vectors, probabilities, likely classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.settings import ClassifierSettings


def l2_normalized(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to Euclidean length 1; rows of zeros stay zero.

    Args:
        features: float32 [rows, features].
    """
    norms = np.sqrt(np.sum(np.square(features, dtype=np.float64), axis=1, keepdims=True))
    norms[norms == 0] = 1
    normalized: NDArray[np.float32] = (features / norms).astype(np.float32)
    return normalized


def probabilities(
    logits: NDArray[np.float32], classifier: ClassifierSettings | None
) -> NDArray[np.float32]:
    """How likely each class is.

    Args:
        logits: float32 [rows, classes].
        classifier: whose activation and temperature are applied; None for ImageNet's networks.

    Returns:
        float32 [rows, classes]: the softmax of each row; of a classifier with several labels an
        image, the sigmoid of each value.
    """
    if classifier is None:
        return softmax(logits)
    logits = logits / np.float32(classifier.temperature)
    return sigmoid(logits) if classifier.activation == "sigmoid" else softmax(logits)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of each row of logits [rows, classes]."""
    powers: NDArray[np.float32] = np.exp(logits - logits.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """The probability of each logit by itself, float32 of the same shape."""
    values: NDArray[np.float32] = 0.5 + 0.5 * np.tanh(0.5 * logits)  # never overflows
    return values


def similarity(
    features: NDArray[np.float32], prototypes: NDArray[np.float32]
) -> NDArray[np.float32]:
    """How near images are to what a classifier was made with.

    Args:
        features: float32 [rows, features].
        prototypes: float32 [prototypes, features] of length 1.

    Returns:
        float32 [rows]: the cosine of each row to the nearest prototype; 0 of a row of zeros.
    """
    # Not by BLAS: what it gives for a row depends, in the last bits, on how many rows there are.
    cosines = np.einsum("rf,pf->rp", l2_normalized(features), prototypes)
    nearest: NDArray[np.float32] = cosines.max(axis=1)
    return nearest


def top_k(scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k highest scores of each row, highest first, equal ones by index.

    Args:
        scores: float32 [rows, classes].
        k: from 0 to the number of classes.

    Returns:
        int32 [rows, k] indices and float32 [rows, k] scores.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order.astype(np.int32), np.take_along_axis(scores, order, axis=1)
