"""Roundings and corrections of int8: layer by layer, on what the layers before give in int8.

Kernels are rounded as `rounding` says. Then rounding still moves the mean of what a layer gives, as
do the bytes that come in. So each layer in turn is given the bias with which every channel is in
the mean what it is in float32, after the activation; the layers that follow start from there.
(After Nagel et al., arXiv 1906.04721, appendix D, where it is the means before the activation.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.conversion.rounding import moments, rounded_up
from mobilenet_hub.graph.float32 import (
    CLIPS,
    DEFAULT_OUTPUT,
    INPUT,
    Builder,
    build_graph,
    fold_batch_norm,
    oihw,
)
from mobilenet_hub.graph.onnx_format import Graph, Port
from mobilenet_hub.graph.quantize import QuantizedLayer, Scale, in_steps, input_scale, quantize
from mobilenet_hub.networks import Layer
from mobilenet_hub.runtime import Engine, GraphSpec, Runner
from mobilenet_hub.runtime.contracts import Images, Outputs
from mobilenet_hub.weights.calibration import Calibration
from mobilenet_hub.weights.canonical import Weights

Float32 = NDArray[np.float32]

_PHOTOS = 64  # whose values between two layers are held in memory, as bytes
_TURNS = 2  # of Newton's method, for each layer with an activation
_LEAST_SLOPE = 0.1  # of a mean along its bias, where nearly all is cut off
_BATCH = 4


@dataclass(frozen=True, slots=True)
class _Values:
    """What lies between two layers: uint8 [photos, height, width, channels], and how it is read."""

    whole: NDArray[np.uint8]
    scale: Scale

    def of(self, part: slice) -> Float32:
        """Those of some photos."""
        return (self.whole[part] - np.float32(self.scale.zero)) * np.float32(self.scale.step)

    def moments(self, layer: Layer) -> NDArray[np.float64]:
        """The `rounding.moments` of a layer that they go into; of windows, some photos' do."""
        apart, together = (1, 8) if layer.kernel == 1 else (4, 1)
        starts = range(0, len(self.whole), apart * together)
        parts = [moments(layer, self.of(slice(start, start + together))) for start in starts]
        return sum(parts[1:], parts[0]) / len(parts)


def adapted(
    weights: Weights,
    pixels: Images,
    engine: Engine,
    calibration: Calibration,
    step: Callable[[int, int], None],
) -> Calibration:
    """A calibration with other corrections and roundings: those with which int8 comes closest.

    Args:
        weights: of the network.
        pixels: of photos, as the network takes them; of many, some are used, evenly spread.
        engine: what computes, in float32.
        calibration: of the weights; its ranges stay.
        step: is told how many layers are done, and how many there are.
    """
    pixels = pixels[:: -(-len(pixels) // _PHOTOS)].copy()
    means, numbers = _means(weights, pixels, engine), quantize(weights, calibration)
    values = _given(weights, pixels, engine, calibration)
    corrections, roundings = dict[str, Float32](), dict[str, NDArray[np.uint8]]()
    last = calibration.last_float_layer
    kept = dict[str | None, _Values]({last.scope: values} if last else {})
    for done, layer in enumerate(calibration.layers, 1):
        kernel, _ = in_steps(oihw(layer, fold_batch_norm(layer, weights.tensors)[0]))
        up = rounded_up(layer, kernel, values.moments(layer))
        its = replace(numbers[layer.scope], kernel=(np.floor(kernel) + up).astype(np.int8))
        run = _QuantizedRun(weights, layer, its, values, engine)
        correction = np.zeros(layer.out_channels, np.float32)
        for _ in range(_TURNS if layer.activation else 1):
            mean, slope = run.mean_and_slope(correction)
            correction += (mean - means[layer.scope]) / np.maximum(slope, _LEAST_SLOPE)
        corrections[layer.scope], roundings[layer.scope] = correction, np.packbits(up)
        if its.output is not None:
            values = run.stored(correction, its.output, kept.get(layer.residual))
            kept[layer.scope] = values
        step(done, len(calibration.layers))
    return replace(calibration, corrections=corrections, roundings=roundings)


def _given(weights: Weights, pixels: Images, engine: Engine, calibration: Calibration) -> _Values:
    """What the first layer in int8 is given: pixels, or the bytes of the last one in float32."""
    scale, last = input_scale(calibration), calibration.last_float_layer
    if last is None:
        whole = np.rint(pixels * np.float32(255)) if pixels.dtype == np.float32 else pixels
        return _Values(whole.astype(np.uint8), scale)

    def build(spec: GraphSpec) -> Graph:
        builder = built_in_float32(weights, spec)
        value = builder.node("Transpose", [builder.values[last.scope]], "given", perm=[0, 2, 3, 1])
        builder.graph.outputs[:] = [Port(value, ("batch", None, None, last.out_channels))]
        return builder.graph

    batches = in_batches(Runner(build, engine), pixels)
    return _Values(np.concatenate([_rounded(batch["given"], scale) for batch in batches]), scale)


class _QuantizedRun:
    """One layer on what comes into it, with rounded kernel and bias: computed in float32, exactly.

    Args:
        weights: of the network.
        layer: of it.
        numbers: of the layer.
        values: what comes in.
        engine: in float32.
    """

    def __init__(
        self,
        weights: Weights,
        layer: Layer,
        numbers: QuantizedLayer,
        values: _Values,
        engine: Engine,
    ) -> None:
        self._numbers, self._values = numbers, values
        clips = CLIPS[layer.activation] if layer.activation else (-np.inf,)
        self._low, self._high = (*clips, np.inf)[:2]
        self._run = Runner(partial(self._graph, Builder(weights), layer), engine)

    def mean_and_slope(self, correction: Float32) -> tuple[Float32, Float32]:
        """Of each channel the mean, and its growth with the bias: the share that is not cut off."""
        total, inside, count = np.zeros(len(correction)), np.zeros(len(correction)), 0
        for _, out in self._outputs(correction):
            total += out.sum((0, 1, 2), dtype=np.float64)
            inside += ((out > self._low) & (out < self._high)).sum((0, 1, 2))
            count += out.size // len(correction)
        return (total / count).astype(np.float32), (inside / count).astype(np.float32)

    def stored(self, correction: Float32, scale: Scale, residual: _Values | None) -> _Values:
        """What the next layer is given: the layer's bytes, or those of its sum with a residual."""
        whole, total = list[NDArray[np.uint8]](), self._numbers.sum
        for part, out in self._outputs(correction):
            bytes_ = _rounded(out, scale)
            if residual is not None and total is not None:
                bytes_ = _rounded(_Values(bytes_, scale).of(slice(None)) + residual.of(part), total)
            whole.append(bytes_)
        return _Values(np.concatenate(whole), total or scale)

    def _outputs(self, correction: Float32) -> Iterator[tuple[slice, Float32]]:
        """After the activation, of some photos at a time; not rounded, and without a residual."""
        for start in range(0, len(self._values.whole), _BATCH):
            part = slice(start, start + _BATCH)
            out = self._run(self._values.whole[part], throughput=True)[DEFAULT_OUTPUT]
            out -= correction
            yield part, np.clip(out, self._low, self._high, out=out)

    def _graph(self, builder: Builder, layer: Layer, spec: GraphSpec) -> Graph:
        """The layer's convolution of bytes: NHWC, and so is what it gives."""
        numbers, given = self._numbers, self._values.scale
        shape = (spec.height, spec.width, layer.in_channels)
        builder.graph.inputs.append(Port(INPUT, ("batch", *shape), np.uint8))
        output = Port(DEFAULT_OUTPUT, ("batch", None, None, layer.out_channels))
        builder.graph.outputs.append(output)
        value = builder.node("Cast", [INPUT], "as_float", to=1)
        zero = builder.constant("zero", np.float32(given.zero))
        value = builder.node("Sub", [value, zero], "moved")
        value = builder.node("Transpose", [value], "given", perm=[0, 3, 1, 2])
        kernel = numbers.rounded_kernel * np.float32(given.step)
        bias = numbers.bias.astype(np.float32) * numbers.bias_steps
        parameters = builder.constant("kernel", kernel), builder.constant("bias", bias)
        value = builder.node_of(layer, [value, *parameters])
        builder.node("Transpose", [value], DEFAULT_OUTPUT, perm=[0, 2, 3, 1])
        return builder.graph


def _rounded(values: Float32, scale: Scale) -> NDArray[np.uint8]:
    """As `QuantizeLinear` rounds."""
    whole = values / np.float32(scale.step)
    np.rint(whole, out=whole)
    whole += scale.zero
    return np.clip(whole, 0, 255, out=whole).astype(np.uint8)


def _means(weights: Weights, pixels: Images, engine: Engine) -> dict[str, Float32]:
    """The mean of each channel in float32, after the activation, by the layers' scopes."""

    def build(spec: GraphSpec) -> Graph:
        builder = built_in_float32(weights, spec)
        for layer in weights.network.convolutions:
            value = f"{layer.scope}/{'activation' if layer.activation else 'conv'}"
            name = builder.node(
                "ReduceMean", [value], f"{layer.scope}/mean", axes=[2, 3], keepdims=0
            )
            builder.graph.outputs.append(Port(name, ("batch", layer.out_channels)))
        return builder.graph

    batches = [*in_batches(Runner(build, engine), pixels)]
    return {
        layer.scope: np.concatenate([batch[f"{layer.scope}/mean"] for batch in batches]).mean(0)
        for layer in weights.network.convolutions
    }


def built_in_float32(weights: Weights, spec: GraphSpec) -> Builder:
    """The network up to its features, to which outputs are added."""
    builder, size = Builder(weights), (spec.height, spec.width)
    build_graph(weights, "feature_vector", input_dtype=spec.input_dtype, size=size, builder=builder)
    return builder


def in_batches(run: Runner, pixels: Images) -> Iterator[Outputs]:
    """The outputs of all photos, which may lie in a file, some at a time."""
    for start in range(0, len(pixels), 4 * _BATCH):
        yield run(pixels[start : start + 4 * _BATCH].copy(), throughput=True)
