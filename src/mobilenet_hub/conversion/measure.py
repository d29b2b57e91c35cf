"""The ranges and corrections that int8 needs, measured on photos.

How they are chosen was decided by measurement (benchmarks/README.md). After a ReLU6, the range is
the greatest value that any photo gave: at most 6, and nothing is cut off. Elsewhere it is the mean
of the photos' greatest values: a rare one is cut off, and all others are finer. Then `adapt`
rounds kernels and corrects biases.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from mobilenet_hub.conversion.adapt import adapted
from mobilenet_hub.graph import build_graph
from mobilenet_hub.graph.onnx_format import Attribute, Graph, Node, Port
from mobilenet_hub.networks import Layer
from mobilenet_hub.runtime import Engine, GraphSpec, Runner, make_engine
from mobilenet_hub.runtime.contracts import Images, Outputs
from mobilenet_hub.weights.calibration import Calibration, Photos
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.storage.pins import tensor_digests

METHOD = (
    "one range a tensor: after ReLU6 the greatest value, elsewhere the mean of each photo's; "
    "kernels symmetric, a scale for each output channel, sums of two inputs bounded, rounded by "
    "least squares of what they give; biases "
    "corrected layer by layer, to the means of float32 after the activation"
)
_LEAST_RANGE = 1e-3  # of a tensor that is 0 on all photos
_BATCH = 16


def measure(weights: Weights, pixels: Images, photos: Photos) -> Calibration:
    """A calibration of weights, without certificates.

    Args:
        weights: of the network.
        pixels: of photos, as the network takes them: [photos, height, width, 3], uint8 or float32;
            read twice, a few at a time.
        photos: what they are of.
    """
    engine = make_engine()
    calibration = Calibration(
        network=weights.network,
        weights_sha256=tensor_digests(weights)[0],
        size=(pixels.shape[1], pixels.shape[2]),
        ranges=_ranges(weights, pixels, engine),
        corrections={
            layer.scope: np.zeros(layer.out_channels, np.float32)
            for layer in weights.network.convolutions
        },
        roundings={
            layer.scope: np.zeros(-(-math.prod(layer.weights_shape) // 8), np.uint8)
            for layer in weights.network.convolutions
        },
        photos=photos,
        method=METHOD,
    )
    return adapted(weights, pixels, engine, calibration)


def _ranges(weights: Weights, pixels: Images, engine: Engine) -> dict[str, float]:
    layers = weights.network.convolutions

    def build(spec: GraphSpec) -> Graph:
        graph = _float_graph(weights, spec)
        for name, layer in _tensors(layers):
            _add_greatest(graph, name, layer)
        return graph

    tensors = dict(_tensors(layers))
    total, most, count = dict.fromkeys(tensors, 0.0), dict.fromkeys(tensors, 0.0), 0
    for outputs, images in _run(Runner(build, engine), pixels):
        count += images
        for name in tensors:
            values = outputs[f"{name}/greatest"]
            total[name] += float(values.sum(dtype=np.float64))
            most[name] = max(most[name], float(values.max()))
    return {
        name: max(most[name] if layer.activation else total[name] / count, _LEAST_RANGE)
        for name, layer in tensors.items()
    }


def _tensors(layers: tuple[Layer, ...]) -> Iterator[tuple[str, Layer]]:
    """Each tensor of activations that is stored in bytes, by its name in a calibration."""
    for layer in layers[:-1]:
        yield layer.scope, layer
        if layer.residual is not None:
            yield f"{layer.scope}/add", layer


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


def _float_graph(weights: Weights, spec: GraphSpec) -> Graph:
    size = (spec.height, spec.width)
    return build_graph(weights, "feature_vector", input_dtype=spec.input_dtype, size=size)


def _run(runner: Runner, pixels: Images) -> Iterator[tuple[Outputs, int]]:
    """The outputs of all photos, some at a time, and of how many."""
    for start in range(0, len(pixels), _BATCH):
        images = pixels[start : start + _BATCH].copy()
        yield runner(images, throughput=True), len(images)
