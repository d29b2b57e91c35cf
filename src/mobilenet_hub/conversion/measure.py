"""The ranges and corrections that int8 needs, measured on photos.

How they are chosen was decided by measurement (benchmarks/README.md). After a ReLU6, the range is
the greatest value that any photo gave: at most 6, and nothing is cut off. Elsewhere it is the mean
of the photos' greatest values: a rare one is cut off, and all others are finer. Then `adapt`
rounds kernels and corrects biases.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from mobilenet_hub.conversion.adapt import adapted, built_in_float32, in_batches
from mobilenet_hub.graph.onnx_format import Attribute, Graph, Node, Port
from mobilenet_hub.networks import Layer
from mobilenet_hub.pipeline.progress import NO_PROGRESS, Progress
from mobilenet_hub.runtime import Engine, GraphSpec, Runner, make_engine
from mobilenet_hub.runtime.contracts import Images
from mobilenet_hub.weights.calibration import (
    MIN_RANGE,
    Calibration,
    Photos,
    check_float_layers,
    stored_tensors,
)
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.storage.pins import tensor_digests

METHOD = (
    "one range a tensor: after ReLU6 the greatest value, elsewhere the mean of each photo's; "
    "kernels symmetric, a scale for each output channel, sums of two inputs bounded, rounded by "
    "least squares of what they give; biases "
    "corrected layer by layer, to the means of float32 after the activation"
)


def measure(
    weights: Weights,
    pixels: Images,
    photos: Photos,
    *,
    float_layers: int = 0,
    progress: Progress = NO_PROGRESS,
    step: str = "layers",
) -> Calibration:
    """A calibration of weights, without certificates.

    Args:
        weights: of the network.
        pixels: of photos, as the network takes them: [photos, height, width, 3], uint8 or float32;
            read twice, a few at a time.
        photos: what they are of.
        float_layers: how many layers, the first, stay in float32.
        progress: told how many layers are done.
        step: what that is called there.

    Raises:
        WeightsError: so many cannot.
    """
    check_float_layers(weights.network, float_layers)
    engine, layers = make_engine(), weights.network.convolutions[float_layers:]
    method = METHOD + f"; the first {float_layers} layers in float32" * (float_layers > 0)
    calibration = Calibration(
        network=weights.network,
        weights_sha256=tensor_digests(weights)[0],
        size=(pixels.shape[1], pixels.shape[2]),
        ranges=_ranges(weights, pixels, engine, float_layers),
        corrections={layer.scope: np.zeros(layer.out_channels, np.float32) for layer in layers},
        roundings={
            layer.scope: np.zeros(-(-math.prod(layer.weights_shape) // 8), np.uint8)
            for layer in layers
        },
        photos=photos,
        method=method,
        float_layers=float_layers,
    )
    return adapted(weights, pixels, engine, calibration, partial(progress.step, step))


def _ranges(
    weights: Weights, pixels: Images, engine: Engine, float_layers: int
) -> dict[str, float]:
    tensors = dict(stored_tensors(weights.network, float_layers))

    def build(spec: GraphSpec) -> Graph:
        graph = built_in_float32(weights, spec).graph
        for name, layer in tensors.items():
            _add_greatest(graph, name, layer)
        return graph

    total, most, count = dict.fromkeys(tensors, 0.0), dict.fromkeys(tensors, 0.0), 0
    for outputs in in_batches(Runner(build, engine), pixels):
        count += len(outputs["default"])
        for name in tensors:
            values = outputs[f"{name}/greatest"]
            total[name] += float(values.sum(dtype=np.float64))
            most[name] = max(most[name], float(values.max()))
    return {
        name: max(most[name] if layer.activation else total[name] / count, MIN_RANGE)
        for name, layer in tensors.items()
    }


def _add_greatest(graph: Graph, name: str, layer: Layer) -> None:
    """The output `NAME/greatest`: of each image, the greatest absolute value of a tensor."""
    value = (
        name if name.endswith("/add") else f"{name}/{'activation' if layer.activation else 'conv'}"
    )
    if layer.activation is None:
        graph.nodes.append(Node("Abs", [value], f"{value}/absolute", {}))
        value = f"{value}/absolute"
    attributes: dict[str, Attribute] = {"axes": [1, 2, 3], "keepdims": 0}
    graph.nodes.append(Node("ReduceMax", [value], f"{name}/greatest", attributes))
    graph.outputs.append(Port(f"{name}/greatest", ("batch",)))
