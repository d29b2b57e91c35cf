"""From a network's outputs to what is asked for: unit vectors, probabilities, likely classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def l2_normalized(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to Euclidean length 1; rows of zeros stay zero.

    Args:
        features: float32 [rows, features].
    """
    norms = np.sqrt(np.sum(np.square(features, dtype=np.float64), axis=1, keepdims=True))
    norms[norms == 0] = 1
    normalized: NDArray[np.float32] = (features / norms).astype(np.float32)
    return normalized


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of each row of logits [rows, classes]."""
    powers: NDArray[np.float32] = np.exp(logits - logits.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


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
