"""Batch norm given back to a network that was published with it folded into its convolutions.

A folded layer is `y = g conv(x, w) + b` (g is 1 where the scale went into w). With the mean m and
the variance v of `conv(x, w)` over photos, the layer that keeps w and has `moving_mean = m`,
`moving_variance = v`, `gamma = g sqrt(v + epsilon)`, `beta = b + g m` computes the same y, whatever
m and v are, and in training mode it normalises as an unfolded network does.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.networks import BATCH_NORM_EPSILON, Layer
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.readers.base import FOLDED_VARIANCE

Array = NDArray[np.float32]


def folded_layers(weights: Weights) -> list[Layer]:
    """The layers whose batch norm is folded away, as the readers mark them: mean 0, variance 0.999.

    No trained layer has these for all channels.
    """
    return [
        layer for layer in weights.network.convolutions if _is_folded(weights.tensors, layer.scope)
    ]


def _is_folded(tensors: Mapping[str, Array], scope: str) -> bool:
    mean = tensors[f"{scope}/BatchNorm/moving_mean"]
    variance = tensors[f"{scope}/BatchNorm/moving_variance"]
    return bool(np.all(mean == 0) and np.all(variance == FOLDED_VARIANCE))


def unfold(
    tensors: Mapping[str, Array], statistics: Mapping[str, tuple[Array, Array]]
) -> dict[str, Array]:
    """Replace the statistics of folded layers by measured ones, leaving every output as it is.

    Args:
        tensors: of a network whose named layers are folded, as the readers give them.
        statistics: for each folded layer, by its scope, the mean and the variance of its
            convolution without bias, float32 [channels].

    Returns:
        All tensors.

    Raises:
        WeightsError: a layer that is not folded, or statistics of another shape.
    """
    result = dict(tensors)
    for scope, (mean, variance) in statistics.items():
        scale, bias = (tensors[f"{scope}/BatchNorm/{name}"] for name in ("gamma", "beta"))
        if mean.shape != bias.shape or variance.shape != bias.shape:
            raise WeightsError(
                f"expected {bias.size} means and variances for {scope}. "
                f"Received: {mean.shape} and {variance.shape}"
            )
        if not _is_folded(tensors, scope):
            raise WeightsError(
                f"expected {scope} with its batch norm folded away (mean 0, variance "
                f"{FOLDED_VARIANCE}). Received: a layer that has one"
            )
        result |= {
            f"{scope}/BatchNorm/gamma": scale * np.sqrt(variance + np.float32(BATCH_NORM_EPSILON)),
            f"{scope}/BatchNorm/beta": bias + scale * mean,
            f"{scope}/BatchNorm/moving_mean": mean,
            f"{scope}/BatchNorm/moving_variance": variance,
        }
    return result
