"""The numbers of a network in int8: whole numbers for kernels and biases, scales for everything.

A tensor of activations is one byte a value with one scale for all, a kernel one signed byte a value
with a scale for each output channel. After a ReLU6 the greatest byte stands for 6 at most, so that
rounding to bytes is the activation too. What was tried, and what it gave, is in
benchmarks/README.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.graph.float32 import fold_batch_norm, oihw
from mobilenet_hub.networks import Layer, Network
from mobilenet_hub.weights.calibration import Calibration
from mobilenet_hub.weights.canonical import Weights

Float32 = NDArray[np.float32]

# Of a kernel's greatest absolute value, or of the sum of two neighbours, if that is more. Without
# VNNI, x86 CPUs add the products of two neighbouring inputs in 16 bits, saturating; this sum times
# 255 stays below. So the features are the same on every CPU, and weights lose a tenth of their
# levels, not the half that a range of 64 would take.
_LEVELS = 127


@dataclass(frozen=True, slots=True)
class Scale:
    """How the bytes of a tensor of activations are read: as `(byte − zero) * step`."""

    step: float
    zero: int


@dataclass(frozen=True, slots=True)
class QuantizedLayer:
    """One convolution in int8.

    Attributes:
        kernel: int8 [out, in, height, width], of depthwise ones [channels, 1, height, width].
        kernel_steps: float32 [out]: what 1 is worth, for each output channel.
        bias: int32 [out].
        bias_steps: float32 [out], likewise: those of the kernel times the input's.
        output: of what the layer computes before a residual is added; None where that is float32.
        sum: of the sum with the residual; None if there is none.
    """

    kernel: NDArray[np.int8]
    kernel_steps: Float32
    bias: NDArray[np.int32]
    bias_steps: Float32
    output: Scale | None
    sum: Scale | None

    @property
    def rounded_kernel(self) -> Float32:
        """What the kernel stands for, in the same layout."""
        return self.kernel * self.kernel_steps[:, None, None, None]


def quantize(weights: Weights, calibration: Calibration) -> dict[str, QuantizedLayer]:
    """The convolutions of a network that are computed in int8, by their scope, in order.

    Args:
        weights: of the network.
        calibration: of these weights.
    """
    ranges, value = calibration.ranges, input_scale(calibration)
    result: dict[str, QuantizedLayer] = {}
    for layer in calibration.layers:
        output = _scale(layer, ranges[layer.scope]) if layer.scope in ranges else None
        total = _scale(layer, ranges[f"{layer.scope}/add"]) if layer.residual else None
        kernel, bias = fold_batch_norm(layer, weights.tensors)
        if not result and calibration.last_float_layer is None:
            rest = weights.network.input_range[0] + value.zero * value.step
            bias = bias + np.float32(rest) * kernel.sum((0, 1, 2), dtype=np.float32)
        exact, steps = in_steps(oihw(layer, kernel))
        up = np.unpackbits(calibration.roundings[layer.scope], count=exact.size)
        whole = (np.floor(exact) + up.reshape(exact.shape)).astype(np.int8)
        bias_steps = steps * np.float32(value.step)
        whole_bias = np.rint((bias - calibration.corrections[layer.scope]) / bias_steps)
        limit = np.float32(2**31 - 128)  # the greatest that int32 and float32 both have
        whole_bias = whole_bias.clip(-limit, limit).astype(np.int32)
        result[layer.scope] = QuantizedLayer(whole, steps, whole_bias, bias_steps, output, total)
        value = total or output or value
    return result


def in_steps(kernel: Float32) -> tuple[Float32, Float32]:
    """A kernel [out, in, height, width] in steps of its output channels, and these [out]."""
    steps = _kernel_steps(kernel)
    return (kernel / steps[:, None, None, None]).clip(-_LEVELS, _LEVELS), steps


def input_scale(calibration: Calibration) -> Scale:
    """How the bytes are read that the first layer in int8 is given: of images, or of a layer."""
    last = calibration.last_float_layer
    if last is None:
        return pixel_scale(calibration.network)
    name = last.scope if last.residual is None else f"{last.scope}/add"
    return _scale(last, calibration.ranges[name])


def pixel_scale(net: Network) -> Scale:
    """How the bytes of images are read, but for less than half a step, which the first bias has."""
    low, high = net.input_range
    step = (high - low) / 255
    return Scale(step, min(max(round(-low / step), 0), 255))


def _scale(layer: Layer, greatest: float) -> Scale:
    """The scale of a layer's values, which are at most so great; signed without an activation."""
    if layer.activation is None:
        return Scale(greatest / 127, 128)
    return Scale(greatest / 255, 0)


def _kernel_steps(kernel: Float32) -> Float32:
    """What one level of a kernel [out, in, height, width] is worth, for each output channel."""
    greatest = np.abs(kernel).max((1, 2, 3))
    inputs = kernel.shape[1]
    if inputs > 1:
        last = kernel.transpose((0, 2, 3, 1))
        even = np.pad(last, ((0, 0), (0, 0), (0, 0), (0, inputs % 2)))
        for laid_out in (kernel, last, even):  # as ONNX Runtime does, or OpenVINO
            greatest = np.maximum(greatest, _pair_sums(laid_out.reshape(len(kernel), -1)))
    return (np.where(greatest > 0, greatest, 1) / _LEVELS).astype(np.float32)


def _pair_sums(rows: Float32) -> Float32:
    """Of each row, the greatest absolute sum of the first and second, third and fourth, ..."""
    rows = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2)))
    sums: Float32 = np.abs(rows[:, 0::2] + rows[:, 1::2]).max(1)
    return sums
