"""Float TFLite files, read straight from the flatbuffer.

A flatbuffer is tables that point at their fields (https://flatbuffers.dev/internals/); what the
fields of each table are is in tensorflow/lite/schema/schema.fbs. The few accesses needed are here,
each with its bounds: a table may point anywhere, and generated code follows it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from os import PathLike
from pathlib import Path

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
from mobilenet_hub.weights.readers.tensorflow.protobuf import Budget

# BuiltinOperator to the kinds of `dataflow`; others keep their number.
ADD, AVERAGE_POOL_2D, CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED = 0, 1, 3, 4, 9
KINDS = {
    ADD: "add", AVERAGE_POOL_2D: "pool", CONV_2D: "conv", DEPTHWISE_CONV_2D: "depthwise", 6: "same",
    FULLY_CONNECTED: "matmul", 14: "sigmoid", 25: "softmax", 19: "relu",
    18: "mul", 21: "relu6", 22: "same", 23: "resize", 34: "pad", 40: "pool", 41: "sub", 42: "div",
    43: "same", 53: "same", 70: "same", 77: "shape",
}  # fmt: skip  # 6 DEQUANTIZE (of float16), 22 RESHAPE, 43 SQUEEZE, 53 CAST, 70 EXPAND_DIMS

# Which fields of its options table an operation keeps its padding, strides, dilations and fused
# activation in: Conv2DOptions, DepthwiseConv2DOptions, Pool2DOptions.
PADDING, STRIDE_W, STRIDE_H, POOL_HEIGHT = 0, 1, 2, 4
ACTIVATION = {CONV_2D: 3, DEPTHWISE_CONV_2D: 4}
DILATIONS = {CONV_2D: (4, 5), DEPTHWISE_CONV_2D: (5, 6)}
ACTIVATIONS = {0: None, 1: "relu", 3: "relu6"}  # ActivationFunctionType
FLOAT32, FLOAT16, INT32 = 0, 1, 2
TENSOR_TYPES = {INT32: "int32", 3: "uint8", 4: "int64", 7: "int16", 9: "int8", 17: "int4"}

# A MobileNet has some hundred tensors and operators. Vectors may overlap, so that the bound is on
# what is read of all of them together.
MAX_ITEMS = 1 << 17

# Kernels are [out, height, width, in], depthwise ones [1, height, width, in].
KERNEL_AXES = (1, 2, 3, 0)
MATRIX_AXES = (1, 0)


def read_tflite(path: str | PathLike[str], use_ema: bool | None = None) -> Reading:
    """Read the network of a float TFLite file; its batch norm is always folded.

    Args:
        path: the `.tflite` file.
        use_ema: nothing to choose here; the same for all readers.

    Raises:
        MissingWeightsError: if there is no such file.
        WeightsError: if it is not a TFLite file, is quantised, or is not a MobileNet.
    """
    path = Path(path)
    where = str(path)
    data = read_file(path, "The TFLite file", MAX_WEIGHTS_BYTES)
    if data[4:8] != b"TFL3":
        raise damaged(where, "a TFLite file (TFL3 at byte 4)", data[4:8])
    buffer = _Buffer(data, where)
    model = buffer.table(buffer.uint(0))
    codes = [_operator_code(code) for code in model.tables(1)]
    subgraphs = model.tables(2)
    buffers = model.tables(4)
    if len(subgraphs) != 1:
        raise damaged(where, "one subgraph", len(subgraphs))
    tensors = subgraphs[0].tables(0)
    values = [f"{_name(tensor)} (tensor {index})" for index, tensor in enumerate(tensors)]
    nodes: dict[str, Node] = {}
    for operator in subgraphs[0].tables(3):
        index = operator.integer(0, 4)
        if index >= len(codes):
            raise damaged(where, f"an operation below {len(codes)}", index)
        _add_operation(operator, codes[index], values, nodes, where)
    constants = {
        value: constant
        for value, tensor in zip(values, tensors, strict=True)
        if (constant := _constant(tensor, buffers, where)) and value not in nodes
    }
    inputs = [tensors[i].integers(0) for i in subgraphs[0].integers(1) if 0 <= i < len(tensors)]
    sizes = {size for shape in inputs if (size := square(shape))}
    size = sizes.pop() if len(sizes) == 1 else None
    reading = read_network(Dataflow(nodes, constants, where), "TFLite file", size)
    return replace(reading, crop="none")


def _name(tensor: _Table) -> str:
    return bytes(tensor.data(3)[:200]).decode("utf-8", "backslashreplace")


def _operator_code(code: _Table) -> int:
    # Codes above 127 did not fit the first field and got one of their own.
    return max(code.integer(0, 1), code.integer(3, 4))


def _add_operation(
    operator: _Table, code: int, values: list[str], nodes: dict[str, Node], where: str
) -> None:
    """One operator as one node, and a second one for an activation that is fused into it."""
    inputs = operator.integers(1)
    outputs = operator.integers(2)
    if any(not -1 <= index < len(values) for index in inputs + outputs) or not outputs:
        raise damaged(where, f"tensors below {len(values)}", (inputs[:9], outputs[:9]))
    names = tuple(values[index] for index in inputs if index >= 0)  # -1: an optional one left out
    output = values[outputs[0]]
    kind = KINDS.get(code, f"builtin operation {code}")
    options = operator.subtable(4)
    activation = None
    stride, same_padding, window = 1, True, None
    if code in (CONV_2D, DEPTHWISE_CONV_2D):
        strides = (options.integer(STRIDE_W, 4), options.integer(STRIDE_H, 4))
        dilations = tuple(options.integer(field, 4, 1) for field in DILATIONS[code])
        stride, same_padding = strides[0], options.integer(PADDING, 1) == 0
        activation = options.integer(ACTIVATION[code], 1)
        if strides[0] != strides[1] or dilations != (1, 1):
            kind = f"{kind} (strides {strides}, dilations {dilations})"
    elif code == AVERAGE_POOL_2D:
        window, activation = options.integer(POOL_HEIGHT, 4) or None, options.integer(5, 1)
    elif code in (ADD, FULLY_CONNECTED, 18, 41, 42):
        activation = options.integer(0, 1)
    if activation:
        fused = ACTIVATIONS.get(activation) or f"activation {activation}"
        _add(nodes, Node(output, fused, (f"{output} before activation",)), where)
        output = f"{output} before activation"
    if (
        kind in ("conv", "depthwise", "matmul") and len(names) == 3
    ):  # the bias is an addition of its own
        _add(nodes, Node(output, "add", (f"{output} before bias", names[2])), where)
        names, output = names[:2], f"{output} before bias"
    axes = MATRIX_AXES if kind == "matmul" else KERNEL_AXES
    node = Node(output, kind, names, stride, same_padding, kernel_axes=axes, window=window)
    _add(nodes, node, where)


def _add(nodes: dict[str, Node], node: Node, where: str) -> None:
    if node.output in nodes:
        raise damaged(where, "a value computed once", f"{node.output} computed twice")
    nodes[node.output] = node


def _constant(tensor: _Table, buffers: list[_Table], where: str) -> Constant | None:
    """A tensor that has data."""
    shape, index = tuple(tensor.integers(0)), tensor.integer(2, 4)
    if index >= len(buffers):
        raise damaged(where, f"a buffer below {len(buffers)}", index)
    data = buffers[index].data(0)
    if not data:
        return None
    if len(shape) > 8 or any(size < 0 for size in shape):
        raise damaged(where, "a shape of known sizes", shape[:20])
    if tensor.integer(1, 1) == INT32:
        integers = data[: len(data) // 4 * 4]
        return Constant(
            shape,
            lambda: _load(tensor, data, shape, where),
            lambda: [int(i) for i in np.frombuffer(integers, "<i4")],
        )
    return Constant(shape, lambda: _load(tensor, data, shape, where))


def _load(tensor: _Table, data: memoryview, shape: tuple[int, ...], where: str) -> Array:
    dtype = tensor.integer(1, 1)
    if dtype not in (FLOAT32, FLOAT16):
        raise WeightsError(
            f"{where} must hold float32 or float16 weights; a quantised file has only 8 bits of "
            f"each, take the float one. Received: {TENSOR_TYPES.get(dtype, f'type {dtype}')}"
        )
    size = math.prod(shape) * (4 if dtype == FLOAT32 else 2)
    if len(data) != size:
        raise damaged(where, f"{size:,} bytes for a tensor {shape}", len(data))
    array = np.frombuffer(data, "<f4" if dtype == FLOAT32 else "<f2")
    widened: Array = array.astype(np.float32, copy=False)  # a view of the file: its kernels are
    return widened.reshape(shape)  # brought into another order, and so copied, in the end


class _Buffer:
    """The bytes of a flatbuffer. Offsets are unsigned, relative, and checked."""

    def __init__(self, data: bytes, where: str) -> None:
        self.view = memoryview(data)
        self.where = where
        self.budget = Budget(MAX_ITEMS, where)

    def bytes_at(self, position: int, size: int) -> memoryview:
        if position < 0 or size > len(self.view) - position:
            raise damaged(self.where, f"{size:,} bytes at byte {position:,}", len(self.view))
        return self.view[position : position + size]

    def uint(self, position: int, size: int = 4) -> int:
        return int.from_bytes(self.bytes_at(position, size), "little")

    def table(self, position: int) -> _Table:
        return _Table(self, position)


class _Table:
    """A table: a signed offset back to its vtable, which says where each field is, 0 if nowhere."""

    def __init__(self, buffer: _Buffer, position: int) -> None:
        self.buffer = buffer
        self.position = position
        back = int.from_bytes(buffer.bytes_at(position, 4), "little", signed=True)
        self.vtable = position - back
        self.vtable_size = buffer.uint(self.vtable, 2)

    def _field(self, index: int) -> int | None:
        """Where a field is, or None if it is absent."""
        slot = 4 + 2 * index
        if slot + 2 > self.vtable_size:
            return None
        offset = self.buffer.uint(self.vtable + slot, 2)
        return self.position + offset if offset else None

    def integer(self, index: int, size: int, default: int = 0) -> int:
        """An unsigned number of `size` bytes."""
        position = self._field(index)
        return default if position is None else self.buffer.uint(position, size)

    def _vector(self, index: int, item_size: int) -> tuple[int, int]:
        """Where the items of a vector start, and how many there are."""
        position = self._field(index)
        if position is None:
            return 0, 0
        start = position + self.buffer.uint(position)
        count = self.buffer.uint(start)
        self.buffer.bytes_at(start + 4, count * item_size)
        return start + 4, count

    def _items(self, index: int) -> tuple[int, int]:
        start, count = self._vector(index, 4)
        self.buffer.budget.spend(count)
        return start, count

    def integers(self, index: int) -> list[int]:
        """A vector of int32."""
        start, count = self._items(index)
        return [int(i) for i in np.frombuffer(self.buffer.bytes_at(start, 4 * count), "<i4")]

    def data(self, index: int) -> memoryview:
        """A vector of bytes."""
        start, count = self._vector(index, 1)
        return self.buffer.bytes_at(start, count)

    def tables(self, index: int) -> list[_Table]:
        """A vector of tables."""
        start, count = self._items(index)
        places = range(start, start + 4 * count, 4)
        return [self.buffer.table(place + self.buffer.uint(place)) for place in places]

    def subtable(self, index: int) -> _Table:
        """A nested table; one without fields if it is absent."""
        position = self._field(index)
        if position is None:
            return _Table(_Buffer(b"\4\0\4\0\4\0\0\0", self.buffer.where), 4)
        return self.buffer.table(position + self.buffer.uint(position))
