"""The graph of a network, its nodes in float32, batch norm folded into the convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.catalog import Task
from mobilenet_hub.errors import OutputError
from mobilenet_hub.graph.onnx_format import Attribute, Graph, Node, Port
from mobilenet_hub.networks import BATCH_NORM_EPSILON, Activation, Layer
from mobilenet_hub.weights.canonical import Tensors, Weights

InputDType = Literal["uint8", "float32"]
INPUT = "images"
DEFAULT_OUTPUT = "default"
CLIPS: dict[Activation, tuple[int, ...]] = {"relu6": (0, 6), "relu": (0,)}  # as bounds


def fold_batch_norm(
    layer: Layer, tensors: Tensors
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Kernel (in its canonical layout) and bias of a convolution with its batch norm folded in.

    `y = gamma (conv(x, w) − mean) / sqrt(variance + epsilon) + beta` is `conv(x, w s) + beta −
    mean s` with `s = gamma / sqrt(variance + epsilon)`; computed in float64, rounded once.
    """
    kernel = tensors[layer.weights_name]
    gamma, beta, mean, variance = (
        tensors[layer.batch_norm_name(name)].astype(np.float64)
        for name in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
    channel_axis = (scale.size, 1) if layer.kind == "depthwise" else (1, scale.size)
    # In memory output channels come first, where ONNX will have them.
    folded = np.empty(kernel.shape, np.float32, order="F")
    np.multiply(
        kernel, scale.reshape(channel_axis), out=folded, dtype=np.float64, casting="same_kind"
    )
    return folded, (beta - mean * scale).astype(np.float32)


def oihw(layer: Layer, kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """A kernel as ONNX lays it out: of HWIO, OIHW; of a depthwise one's HWI1, I1HW."""
    return kernel.transpose((2, 3, 0, 1) if layer.kind == "depthwise" else (3, 2, 0, 1))


def build_graph(
    weights: Weights,
    task: Task,
    *,
    endpoints: Sequence[str] = (),
    input_dtype: InputDType = "float32",
    size: tuple[int, int] | None = None,
    builder: Builder | None = None,
) -> Graph:
    """The inference graph of a network.

    Args:
        weights: of the network; must include logits for `classification`.
        task: what the output `default` is: `feature_vector` (float32 [batch, num_features]) or
            `classification` (float32 [batch, num_classes] logits).
        endpoints: further outputs, by their prefixed names (`MobilenetV2/layer_18/output`):
            float32 [batch, height, width, channels].
        input_dtype: of the input `images` [batch, height, width, 3]: uint8 in [0,255], or float32
            in [0,1].
        size: height and width of the input; None leaves both dynamic. The batch always is.
        builder: of its nodes, of these weights, and of no other graph; in float32 by default, in
            int8 with a calibration (`int8.QuantizedBuilder`).

    Raises:
        OutputError: an endpoint the network does not have, or logits without their weights.
    """
    if task == "classification" and not weights.has_logits:
        raise OutputError(
            "classification needs weights with logits; these end at the feature vector. "
            f"Received: {weights.metadata.get('source', 'weights')}"
        )
    net, builder = weights.network, builder or Builder(weights)
    channels = net.num_features if task == "feature_vector" else net.num_classes
    height, width = size if size is not None else ("height", "width")
    builder.graph.inputs.append(Port(INPUT, ("batch", height, width, 3), input_dtype))
    builder.graph.outputs.append(Port(DEFAULT_OUTPUT, ("batch", channels)))
    builder.add_input_scaling(input_dtype)
    value = "scaled"
    for layer in net.convolutions:
        value = builder.add_convolution(layer, value)
    builder.add_head(value, task)
    for name in endpoints:
        builder.add_endpoint(name)
    return builder.graph


class Builder:
    """Adds to a graph; every method appends what it says and names its result."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.values: dict[str, str] = {}  # the last of each layer, by scope
        self.graph = Graph(f"{weights.network.family}_{weights.network.depth_multiplier}")

    def add_input_scaling(self, input_dtype: InputDType) -> None:
        """`images` to `scaled`: in the network's input range, NCHW."""
        value = INPUT
        if input_dtype == "uint8":
            value = self.node("Cast", [value], "as_float", to=1)
        low, high = self.weights.network.input_range
        factor = (high - low) / (255 if input_dtype == "uint8" else 1)
        value = self.node("Mul", [value, self.constant("factor", np.float32(factor))], "spread")
        value = self.node("Sub", [value, self.constant("offset", np.float32(-low))], "moved")
        self.node("Transpose", [value], "scaled", perm=[0, 3, 1, 2])

    def add_convolution(self, layer: Layer, value: str) -> str:
        """One layer: convolution with folded batch norm, activation, residual."""
        kernel, bias = fold_batch_norm(layer, self.weights.tensors)
        inputs = [
            value,
            self.constant(f"{layer.scope}/kernel", oihw(layer, kernel)),
            self.constant(f"{layer.scope}/bias", bias),
        ]
        value = self.activated(layer, self.node_of(layer, inputs))
        if layer.residual is not None:
            value = self.node("Add", [value, self.values[layer.residual]], f"{layer.scope}/add")
        self.values[layer.scope] = value
        return value

    def node_of(self, layer: Layer, inputs: Sequence[str]) -> str:
        """The convolution of a layer alone: of a value, a kernel and a bias."""
        return self.node(
            "Conv", inputs, f"{layer.scope}/conv",
            kernel_shape=[layer.kernel] * 2, strides=[layer.stride] * 2,
            group=layer.in_channels if layer.kind == "depthwise" else 1, auto_pad="SAME_UPPER",
        )  # fmt: skip

    def add_head(self, value: str, task: Task) -> None:
        """Global average pool, and the logits for `classification`, to the output `default`."""
        net = self.weights.network
        pooled = self.node("GlobalAveragePool", [value], "pooled")
        shape = self.constant("feature_shape", np.array([-1, net.num_features], np.int64))
        flat = "features" if task == "classification" else DEFAULT_OUTPUT
        self.node("Reshape", [pooled, shape], flat)
        if task == "feature_vector":
            return
        value = flat
        for layer in net.head:
            name = DEFAULT_OUTPUT if layer.kind == "logits" else layer.scope
            value = self.activated(layer, self._dense(layer, value, name))

    def add_endpoint(self, name: str) -> None:
        """Expose an endpoint as an NHWC output."""
        net = self.weights.network
        layer = net.endpoints.get(name.removeprefix(f"{net.scope}/"))
        if layer is None or not name.startswith(f"{net.scope}/"):
            known = ", ".join(f"{net.scope}/{endpoint}" for endpoint in net.endpoints)
            raise OutputError(f"Expected one of the endpoints {known}. Received: {name!r}")
        self.node("Transpose", [self.values[layer.scope]], name, perm=[0, 2, 3, 1])
        self.graph.outputs.append(Port(name, ("batch", None, None, layer.out_channels)))

    def _dense(self, layer: Layer, value: str, output: str) -> str:
        """A layer of the head: a matrix product and a bias."""
        kernel = self.weights.tensors[layer.weights_name].reshape(layer.in_channels, -1)
        inputs = [
            value,
            self.constant(f"{layer.kind}/kernel", kernel),
            self.constant(f"{layer.kind}/bias", self.weights.tensors[f"{layer.scope}/biases"]),
        ]
        return self.node("Gemm", inputs, output)

    def activated(self, layer: Layer, value: str) -> str:
        """A value after the layer's activation, if it has one."""
        if layer.activation is None:
            return value
        bounds = [self.constant(f"bound_{b}", np.float32(b)) for b in CLIPS[layer.activation]]
        return self.node("Clip", [value, *bounds], f"{layer.scope}/activation")

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Attribute) -> str:
        """Append a node, called after its output; its name."""
        self.graph.nodes.append(Node(kind, inputs, output, attributes))
        return output

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        """Append a constant, unless there is one of this name; its name."""
        self.graph.constants.setdefault(name, np.asarray(value))
        return name
