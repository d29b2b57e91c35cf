"""Which numbers of a kernel are rounded up, so that what a layer gives changes least.

To the nearest, the errors of numbers whose inputs are alike add up. So from there each number in
turn is rounded the other way if the sum of squares of what that changes, on photos, is less: the
problem of Nagel et al., "Up or Down?", arXiv 2004.10568, by coordinate descent.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from mobilenet_hub.networks import Layer

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_TURNS = 3


def windows(layer: Layer, given: Float32) -> Float32:
    """What a layer's kernel is multiplied by, in the kernel's order.

    Args:
        layer: of the network.
        given: [photos, height, width, channels], what comes into it.

    Returns:
        [groups, inputs, windows]: groups are the channels of a depthwise layer, else there is one.
    """
    pads = []
    for size in given.shape[1:3]:
        least = max((-(-size // layer.stride) - 1) * layer.stride + layer.kernel - size, 0)
        pads.append((least // 2, least - least // 2))
    padded = np.pad(given, ((0, 0), *pads, (0, 0)))
    seen = sliding_window_view(padded, (layer.kernel, layer.kernel), (1, 2))
    seen = seen[:, :: layer.stride, :: layer.stride]  # [photos, rows, columns, channels, 3, 3]
    groups = layer.in_channels if layer.kind == "depthwise" else 1
    return seen.transpose(3, 4, 5, 0, 1, 2).reshape(groups, -1, seen[..., 0, 0, 0].size)


def moments(layer: Layer, given: Float32) -> Float64:
    """The mean products of what a kernel's numbers are multiplied by: [groups, inputs, inputs]."""
    seen = windows(layer, given)
    products: Float32 = seen @ seen.transpose(0, 2, 1) / seen.shape[2]
    return products.astype(np.float64)


def rounded_up(layer: Layer, kernel: Float32, products: Float64) -> NDArray[np.bool_]:
    """Which numbers are rounded up, the others down.

    Args:
        layer: of the network.
        kernel: [out, in, height, width], in steps.
        products: `moments` of the layer.
    """
    groups, inputs, _ = products.shape
    exact = kernel.reshape(groups, -1, inputs).astype(np.float64)
    up = exact - np.floor(exact) > 0.5
    errors = np.floor(exact) + up - exact
    whole = exact == np.floor(exact)
    slopes = errors @ products  # half of how the squares grow with each error
    for index in [*range(inputs)] * _TURNS:
        turned = 1 - 2.0 * up[:, :, index]  # what the error grows by if it is rounded otherwise
        square = products[:, None, index, index]
        better = (2 * turned * slopes[:, :, index] + square < 0) & ~whole[:, :, index]
        up[:, :, index] ^= better
        slopes += (turned * better)[:, :, None] * products[:, None, index]
    return up.reshape(kernel.shape)
