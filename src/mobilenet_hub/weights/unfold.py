"""Batch norm given back to a network that was published with it folded into its convolutions.

A folded convolution is `y = conv(x, w) + b`. With the mean m and the variance v of `conv(x, w)`
over photos, the layer that keeps w and has `moving_mean = m`, `moving_variance = v`,
`gamma = sqrt(v + epsilon)`, `beta = b + m` computes the same y, whatever m and v are, and in
training mode it normalises as an unfolded network does.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.networks import BATCH_NORM_EPSILON

Array = NDArray[np.float32]


def unfold(
    tensors: Mapping[str, Array], statistics: Mapping[str, tuple[Array, Array]]
) -> dict[str, Array]:
    """Replace the statistics of folded layers by measured ones, leaving every output as it is.

    Args:
        tensors: of a network whose named layers are folded: they have gamma 1, mean 0, variance
            0.999 and their bias as beta, as the readers give them.
        statistics: for each folded layer, by its scope, the mean and the variance of its
            convolution without bias, float32 [channels].

    Returns:
        All tensors.

    Raises:
        WeightsError: a layer that is not folded, or statistics of another shape.
    """
    result = dict(tensors)
    for scope, (mean, variance) in statistics.items():
        gamma, beta, old_mean, _ = (
            tensors[f"{scope}/BatchNorm/{name}"]
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        if mean.shape != beta.shape or variance.shape != beta.shape:
            raise WeightsError(
                f"expected {beta.size} means and variances for {scope}. "
                f"Received: {mean.shape} and {variance.shape}"
            )
        if not (np.all(gamma == 1) and np.all(old_mean == 0)):
            raise WeightsError(
                f"expected {scope} with its batch norm folded away (gamma 1, mean 0). "
                f"Received: a layer that has one"
            )
        result |= {
            f"{scope}/BatchNorm/gamma": np.sqrt(variance + np.float32(BATCH_NORM_EPSILON)),
            f"{scope}/BatchNorm/beta": beta + mean,
            f"{scope}/BatchNorm/moving_mean": mean,
            f"{scope}/BatchNorm/moving_variance": variance,
        }
    return result
