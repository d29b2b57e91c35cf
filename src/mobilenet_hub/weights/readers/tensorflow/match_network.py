"""From a graph of operations to the weights of the MobileNet in it.

A frozen graph, and a TFLite file more so, need not have TF-Slim's names any more, but it still is
the network: a chain of convolutions, each with what follows it. The chain is followed from the
image, held against the layers of `networks.py` (kernels, strides, padding, activations, residual
links), and the constants on the way get their TF-Slim names by position. What differs is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from mobilenet_hub.networks import BATCH_NORM_EPSILON, Activation, Family, Layer, network
from mobilenet_hub.weights.readers.base import Array, Reading, finished, folded_batch_norm
from mobilenet_hub.weights.readers.dataflow import Dataflow, Node
from mobilenet_hub.weights.readers.head import Features, with_head
from mobilenet_hub.weights.readers.input_range import input_range

FAMILIES: tuple[Family, ...] = ("mobilenet_v1", "mobilenet_v2")
STATISTICS = ("gamma", "beta", "moving_mean", "moving_variance")


@dataclass(slots=True)
class _Convolution:
    """A convolution that was found, with what follows it.

    Attributes:
        node, kernel: the operation; HWIO or HWI1.
        same_padding: whether its padding is SAME.
        statistics: of batch norm, by name.
        folded: whether those only stand for a bias (and a scale).
        activation: what follows that.
        residual: the value that is added.
        output: the value after all that.
    """

    node: Node
    kernel: Array
    same_padding: bool
    statistics: dict[str, Array] = field(default_factory=dict)
    folded: bool = False
    activation: Activation | None = None
    residual: str | None = None
    output: str = ""


def read_network(graph: Dataflow, file_format: str, image_size: int | None) -> Reading:
    """The network in a graph, with its head.

    Args:
        graph: that it is in.
        file_format: in words.
        image_size: of the images that the graph takes, if it tells.

    Raises:
        WeightsError: if the graph is no MobileNet, or differs from one in anything that matters.
    """
    stem = _stem(graph)
    value = _before_padding(graph, graph.inputs(stem)[0])
    values, note = input_range(graph, value)
    found: list[_Convolution] = []
    while convolution := _next_convolution(graph, value, found):
        found.append(convolution)
        value = convolution.output
    family = _family(graph, found)
    layers = network(family, 1.0).convolutions
    tensors: dict[str, Array] = {}
    for layer, convolution in zip(layers, found, strict=True):
        _check(graph, layer, convolution)
        tensors[layer.weights_name] = convolution.kernel
        for statistic, array in convolution.statistics.items():
            tensors[layer.batch_norm_name(statistic)] = array
    _check_links(graph, layers, found)
    pairs = zip(layers, found, strict=True)
    reading = Reading(
        finished(tensors),
        format=file_format,
        folded=tuple(layer.scope for layer, convolution in pairs if convolution.folded),
        notes=(note,),
        image_size=image_size,
        input_range=values,
    )
    map_size = -(-image_size // 32) if image_size else None
    features = Features(value, found[-1].kernel.shape[3], map_size=map_size)
    reading = with_head(reading, graph, features)
    if reading.unread is None and len(reading.tensors) == len(tensors):
        note = "The file has no classification layer of these features: features only."
        reading = replace(reading, notes=(*reading.notes, note))
    return reading


def _stem(graph: Dataflow) -> Node:
    """The one convolution that takes an image of three channels."""
    stems = [node for node in graph.nodes.values() if graph.is_stem(node)]
    if len(stems) != 1:
        kinds = sorted({node.kind for node in graph.nodes.values()})
        raise graph.refusal(
            "one convolution of an image with 3 channels, its kernel a constant (a frozen graph)",
            f"{len(stems)} such among the operations {', '.join(kinds[:30])}",
        )
    return stems[0]


def _next_convolution(
    graph: Dataflow, value: str, found: list[_Convolution]
) -> _Convolution | None:
    nodes = graph.users(value, "conv", "depthwise")
    pads = [] if nodes else graph.users(value, "pad")
    if len(pads) == 1:
        value = pads[0].output
        nodes = graph.users(value, "conv", "depthwise")
    if not nodes:
        return None
    if len(nodes) > 1 or graph.inputs(nodes[0])[0] != value or len(found) > 100:
        names = [node.output for node in nodes[:5]]
        raise graph.refusal("one chain of convolutions", f"{names} after {len(found)} others")
    same = _is_same(graph, nodes[0], pads[0] if pads else None)
    convolution = _Convolution(nodes[0], graph.kernel(nodes[0]), same, output=nodes[0].output)
    earlier = {other.output for other in found}
    while convolution.activation is None and convolution.residual is None:
        following = _following(graph, convolution, earlier)
        if not following:
            break
        if len(following) > 1:
            names = [node.output for node, _ in following[:5]]
            raise graph.refusal(f"one operation after {convolution.output}", names)
        convolution.output = _take_in(graph, convolution, *following[0])
    if not convolution.statistics:
        raise graph.refusal(
            f"batch norm or a bias after {nodes[0].output}", graph.after(nodes[0].output)
        )
    return convolution


# What Keras pads for a stride of 2, one more at the end: SAME, for sides of even length.
KERAS_PADDING = (0, 0, 0, 1, 0, 1, 0, 0)


def _is_same(graph: Dataflow, node: Node, pad: Node | None) -> bool:
    """Whether the padding of a convolution is SAME, that of an operation before it included."""
    if pad is None:
        return node.same_padding
    padding = graph.integers(graph.inputs(pad)[1]) if len(pad.inputs) == 2 else ()
    return padding == KERAS_PADDING and node.stride == 2 and not node.same_padding


def _before_padding(graph: Dataflow, value: str) -> str:
    node = graph.nodes.get(value)
    return graph.inputs(node)[0] if node and node.kind == "pad" and node.inputs else value


def _following(
    graph: Dataflow, convolution: _Convolution, earlier: set[str]
) -> list[tuple[Node, str]]:
    """What follows on the way from a convolution to the next, with what else it takes.

    Whatever else takes the value (the next convolution, its residual link, a summary) is left out.
    """
    following = []
    for node in graph.users(convolution.output, "relu6", "batch_norm", "add", "mul"):
        other = graph.other(node, convolution.output)
        if (
            node.kind == "relu6"
            or (node.kind == "batch_norm" and not convolution.statistics)
            or (node.kind == "add" and convolution.statistics and other in earlier)
            or (node.kind != "relu6" and not convolution.statistics and graph.is_constant(other))
        ):
            following.append((node, other or ""))
    return following


def _take_in(graph: Dataflow, convolution: _Convolution, node: Node, other: str) -> str:
    """Add an operation to a convolution; returns the value after it."""
    if node.kind == "batch_norm":
        _batch_norm(graph, convolution, node)
    elif node.kind == "mul":
        return _scale_and_shift(graph, convolution, node, other)
    elif node.kind == "relu6":
        convolution.activation = "relu6"
    elif convolution.statistics:
        convolution.residual = other
    else:
        bias = graph.vector(other)
        convolution.statistics, convolution.folded = folded_batch_norm(bias), True
    return node.output


def _batch_norm(graph: Dataflow, convolution: _Convolution, node: Node) -> None:
    values = graph.inputs(node)[1:]
    if len(values) != len(STATISTICS) or graph.inputs(node)[0] != convolution.output:
        raise graph.refusal(f"batch norm {node.output} with five inputs", node.inputs[:10])
    _check_epsilon(graph, node, node.epsilon)
    arrays = map(graph.vector, values)
    convolution.statistics = dict(zip(STATISTICS, arrays, strict=True))


def _scale_and_shift(graph: Dataflow, convolution: _Convolution, mul: Node, scale: str) -> str:
    """Batch norm written out: `x * scale + shift`.

    TensorFlow's unfused one computes `scale = rsqrt(variance + epsilon) * gamma` and
    `shift = beta - mean * scale` from the four statistics; after constant folding only the two
    results are left.
    """
    adds = [
        (node, other)
        for node in graph.users(mul.output, "add")
        if (other := graph.other(node, mul.output)) and graph.is_constant(other)
    ]
    if len(adds) != 1:
        raise graph.refusal(f"one shift after the scale {mul.output}", graph.after(mul.output))
    add, shift = adds[0]
    if scale in graph.constants and shift in graph.constants:
        gamma, beta = graph.vector(scale), graph.vector(shift)
        convolution.statistics, convolution.folded = folded_batch_norm(beta, gamma), True
        return add.output
    rsqrt, gamma_name = _split(graph, scale, "mul", lambda v: graph.kind(v) == "rsqrt")
    inner = graph.inputs(graph.nodes[rsqrt])[0]
    epsilon, variance = _split(
        graph, inner, "add", lambda v: v in graph.constants and graph.constants[v].shape == ()
    )
    _check_epsilon(graph, mul, float(graph.load(epsilon)))
    difference = graph.nodes.get(shift)
    if difference is None or difference.kind != "sub" or len(difference.inputs) != 2:
        raise graph.refusal(f"beta - mean * scale as {shift}", graph.kind(shift))
    beta_name, product = graph.inputs(difference)
    _, mean = _split(graph, product, "mul", lambda v: v == scale)
    arrays = map(graph.vector, (gamma_name, beta_name, mean, variance))
    convolution.statistics = dict(zip(STATISTICS, arrays, strict=True))
    return add.output


def _split(
    graph: Dataflow, value: str, kind: str, is_first: Callable[[str], bool]
) -> tuple[str, str]:
    """The two inputs of the operation that computes `value`, the one that `is_first` first."""
    node = graph.nodes.get(value)
    if node is not None and node.kind == kind and len(node.inputs) == 2:
        left, right = graph.inputs(node)
        if is_first(left):
            return left, right
        if is_first(right):
            return right, left
    raise graph.refusal("batch norm as TensorFlow writes it out", f"{graph.kind(value)} as {value}")


def _check_epsilon(graph: Dataflow, node: Node, epsilon: float) -> None:
    if not np.isclose(epsilon, BATCH_NORM_EPSILON, rtol=1e-5, atol=0):
        raise graph.refusal(f"epsilon {BATCH_NORM_EPSILON} in batch norm {node.output}", epsilon)


# What was found, held against the network.


def _family(graph: Dataflow, found: list[_Convolution]) -> Family:
    lengths = {len(network(family, 1.0).convolutions): family for family in FAMILIES}
    if len(found) not in lengths:
        end = f", then {graph.after(found[-1].output)}" if found else ""
        raise graph.refusal(
            f"{' or '.join(map(str, lengths))} convolutions in a row", f"{len(found)}{end}"
        )
    return lengths[len(found)]


def _check(graph: Dataflow, layer: Layer, found: _Convolution) -> None:
    kernel, node, where = found.kernel.shape, found.node, f"{layer.scope} ({found.node.output})"
    expected = (layer.kind, layer.kernel, layer.kernel, layer.stride)
    received = (node.kind, kernel[0], kernel[1], node.stride)
    if received != expected:
        raise graph.refusal(f"kind, kernel and stride {expected} for {where}", received)
    if layer.kernel > 1 and not found.same_padding:
        raise graph.refusal(f"SAME padding for {where}", "VALID, as in a network of other padding")
    if layer.activation != found.activation:
        activation = layer.activation or "no activation"
        raise graph.refusal(f"{activation} after {where}", graph.after(found.output))
    channels = kernel[2] if layer.kind == "depthwise" else kernel[3]
    for name, array in found.statistics.items():
        if array.shape != (channels,):
            raise graph.refusal(f"{name} of {channels} channels for {where}", array.shape)


def _check_links(graph: Dataflow, layers: tuple[Layer, ...], found: list[_Convolution]) -> None:
    """Channels fit together, and exactly the blocks that can have a residual link have it.

    Which those are depends on the depth multiplier: stride 1 and as many channels out as in.
    """
    channels, block_stride = 3, 1
    block_input, block_channels = "", 0
    for layer, convolution in zip(layers, found, strict=True):
        kernel = convolution.kernel.shape
        if kernel[2] != channels:
            raise graph.refusal(f"{channels} channels into {layer.scope}", kernel[2])
        channels = channels if layer.kind == "depthwise" else kernel[3]
        block_stride = max(block_stride, layer.stride)
        expected = None
        if layer.scope.endswith(("/Conv", "/project")):  # of V2: the end of a block
            if layer.kernel == 1 and block_stride == 1 and block_channels == channels:
                expected = block_input
            block_input, block_channels, block_stride = convolution.output, channels, 1
        if convolution.residual != expected:
            raise graph.refusal(
                f"{expected or 'nothing'} added after {layer.scope}", convolution.residual
            )
