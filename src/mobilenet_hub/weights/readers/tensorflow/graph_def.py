"""Frozen TensorFlow graphs: a `GraphDef` with the weights as constants in it.

Messages of tensorflow/core/framework: `graph.proto`, `node_def.proto`, `attr_value.proto`,
`tensor.proto`. A node names its inputs, which tell which convolution a constant belongs to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.readers.base import (
    MAX_WEIGHTS_BYTES,
    Array,
    Reading,
    damaged,
    read_file,
    square,
)
from mobilenet_hub.weights.readers.dataflow import Constant, Dataflow, Node
from mobilenet_hub.weights.readers.tensorflow.match_network import read_network
from mobilenet_hub.weights.readers.tensorflow.protobuf import Message
from mobilenet_hub.weights.readers.tensorflow.tensor_bundle import (
    DT_FLOAT,
    DT_INT32,
    DTYPE_NAMES,
    ITEM_SIZES,
    as_float,
    read_shape,
)

KINDS = {
    "Conv2D": "conv",
    "DepthwiseConv2dNative": "depthwise",
    "FusedBatchNorm": "batch_norm",
    "FusedBatchNormV2": "batch_norm",
    "FusedBatchNormV3": "batch_norm",
    "BiasAdd": "add",
    "Add": "add",
    "AddV2": "add",
    "Sub": "sub",
    "Mul": "mul",
    "RealDiv": "div",
    "Div": "div",
    "Rsqrt": "rsqrt",
    "Relu": "relu",
    "Relu6": "relu6",
    "MatMul": "matmul",
    "Softmax": "softmax",
    "Sigmoid": "sigmoid",
    "Pad": "pad",
    "Shape": "shape",
    "AvgPool": "pool",
    "Mean": "pool",
    "ResizeBilinear": "resize",
    "ResizeBicubic": "resize",
    "ResizeNearestNeighbor": "resize",
    "ResizeArea": "resize",
    **dict.fromkeys(
        ("Identity", "StopGradient", "Squeeze", "Reshape", "ExpandDims", "Cast",
         "PlaceholderWithDefault", "ReadVariableOp"), "same",
    ),
}  # fmt: skip

# What TensorFlow's image_retraining example wrote ends in `final_result`: it took whole pictures,
# squashed, through `tf.image.resize_bilinear`.
RETRAIN: Mapping[str, Any] = {"crop": "none", "resample": "tf1"}

# A uniform constant may be stored as one number. Only small vectors are in practice.
MAX_REPEATED = 1 << 20


def read_frozen_graph(path: str | PathLike[str], use_ema: bool | None = None) -> Reading:
    """Read the network of a frozen `GraphDef`, batch norm folded or not, names as they may be.

    What comes before (decoding, resizing) and after (other heads) is ignored, but the images must
    reach the network as TF-Slim's do, in [-1, 1].

    Args:
        path: the `.pb` file.
        use_ema: nothing to choose here; the same for all readers.

    Raises:
        MissingWeightsError: if there is no such file.
        WeightsError: if it is not a frozen graph, or not of a MobileNet.
    """
    path = Path(path)
    if path.name == "saved_model.pb":
        raise WeightsError(
            f"{path} is part of a SavedModel, its weights are in variables/ beside it: load the "
            f"directory. Received: {path.name}"
        )
    where = str(path)
    graph = Message(read_file(path, "The frozen graph", MAX_WEIGHTS_BYTES), where)
    nodes: dict[str, Node] = {}
    constants: dict[str, Constant] = {}
    sizes: set[int] = set()  # of the images it takes
    for message in graph.messages(1):
        name, operation = message.text(1), message.text(2)
        if not name or name in nodes or name in constants:
            raise damaged(where, "nodes with names of their own", repr(name))
        attributes = attributes_of(message)
        if operation == "Const":
            constants[name] = constant_of(attributes, f"{where} ({name})")
        else:
            if operation == "Placeholder" and "shape" in attributes:
                dimensions = attributes["shape"].message(7).messages(2)
                sizes |= {size for size in [square([d.signed(1) for d in dimensions])] if size}
            nodes[name] = node_of(name, operation, _inputs(message), attributes, where)
    if not nodes:
        raise damaged(where, "a GraphDef with operations in it", "none")
    size = sizes.pop() if len(sizes) == 1 else None
    reading = read_network(Dataflow(nodes, constants, where), "frozen TensorFlow graph", size)
    return replace(reading, **RETRAIN if "final_result" in nodes else {})


def _inputs(message: Message) -> tuple[str, ...]:
    # `name:0` is the first output of `name`, and `^name` only says to run after it.
    return tuple(i.removesuffix(":0") for i in message.texts(3) if not i.startswith("^"))


def attributes_of(node: Message) -> dict[str, Message]:
    """The attributes of a `NodeDef`, each an `AttrValue`, by name."""
    return {entry.text(1): entry.message(2) for entry in node.messages(5)}


def node_of(
    name: str, operation: str, inputs: tuple[str, ...], attributes: dict[str, Message], where: str
) -> Node:
    """A `NodeDef` as a node.

    Args:
        name: of the value it computes.
        operation: `op` there.
        inputs: the values it takes.
        attributes: as `attributes_of`.
        where: the file, for error messages.
    """
    kind = KINDS.get(operation, operation)
    empty = Message(b"", where)
    if kind in ("conv", "depthwise"):
        strides = attributes.get("strides", empty).message(1).integers(3)
        dilations = attributes.get("dilations", empty).message(1).integers(3)
        layout = attributes.get("data_format", empty).text(2) or "NHWC"
        padding = attributes.get("padding", empty).text(2)
        if (
            layout != "NHWC"
            or len(strides) != 4
            or strides[1] != strides[2]
            or any(dilation != 1 for dilation in dilations)
            or padding not in ("SAME", "VALID")
        ):  # not one of the network's: say so only if it is in the way
            kind = f"{operation} ({layout}, strides {strides}, dilations {dilations}, {padding})"
            return Node(name, kind, inputs)
        return Node(name, kind, inputs, stride=strides[1], same_padding=padding == "SAME")
    if kind == "matmul":
        if attributes.get("transpose_a", empty).integer(5):
            return Node(name, f"{operation} of a transposed matrix", inputs)
        transposed = attributes.get("transpose_b", empty).integer(5)
        return Node(name, kind, inputs, kernel_axes=(1, 0) if transposed else (0, 1))
    if kind == "batch_norm":
        if attributes.get("is_training", Message(b"\x28\x01", where)).integer(5):  # true by default
            return Node(name, f"{operation} in training mode", inputs)
        bits = attributes.get("epsilon", empty).fixed32(4, np.float32(1e-4).view(np.uint32).item())
        return Node(name, kind, inputs, epsilon=float(np.uint32(bits).view(np.float32)))
    if operation == "AvgPool":
        window = attributes.get("ksize", empty).message(1).integers(3)
        return Node(name, kind, inputs, window=window[1] if len(window) == 4 else None)
    return Node(name, kind, inputs)


def constant_of(attributes: dict[str, Message], where: str) -> Constant:
    """The `TensorProto` of a `Const`, decoded when it is needed: most constants are no weights."""
    if "value" not in attributes:
        raise damaged(where, "a value in each constant", "none")
    tensor = attributes["value"].message(8)
    shape = read_shape(tensor.message(2), where)
    if tensor.integer(1) == DT_INT32:
        return Constant(shape, lambda: _load(tensor, shape, where), lambda: _integers(tensor))
    return Constant(shape, lambda: _load(tensor, shape, where))


def _integers(tensor: Message) -> list[int]:
    content = tensor.data(4)
    return [int(i) for i in np.frombuffer(content[: len(content) // 4 * 4], "<i4")]


def _load(tensor: Message, shape: tuple[int, ...], where: str) -> Array:
    dtype, content, count = tensor.integer(1), tensor.data(4), math.prod(shape)
    if dtype not in ITEM_SIZES:
        raise WeightsError(
            f"{where} must be float32, float64, float16 or bfloat16. "
            f"Received: {DTYPE_NAMES.get(dtype, f'dtype {dtype}')}"
        )
    if 4 in tensor:
        if len(content) != count * ITEM_SIZES[dtype]:
            raise damaged(where, f"{count * ITEM_SIZES[dtype]:,} bytes for {shape}", len(content))
        return as_float(content, dtype).astype(np.float32).reshape(shape)  # a copy: aligned
    values = np.frombuffer(tensor.floats(5), "<f4")
    if dtype != DT_FLOAT or not 0 < len(values) <= count:
        raise damaged(where, f"{count} float32 values for {shape}", len(values))
    if len(values) < count and count > MAX_REPEATED:
        raise damaged(where, f"at most {MAX_REPEATED} repeated values", count)
    # The last value stands for all that are missing (tensor.proto).
    result: Array = np.full(count, values[-1], np.float32)
    result[: len(values)] = values
    return result.reshape(shape)
