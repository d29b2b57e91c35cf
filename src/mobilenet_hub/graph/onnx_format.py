"""The ONNX format, written: nodes and constants become the bytes that every engine reads.

The library `onnx` would do it too, but brings protobuf and another NumPy extension with it: on the
way to a first label, importing it and copying the weights through its messages took a tenth of a
second, and this file takes a hundredth (benchmarks/README.md). The tests hold what is written here
against its checker.

A model is a message of protocol buffers, whose fields are numbered in `onnx.proto`
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto): each is a varint `number << 3 | wire type`
and its value, 0 a varint, 2 a length and that many bytes (text, a message, the data of a tensor),
5 four bytes (https://protobuf.dev/programming-guides/encoding/).
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

OPSET = 17
IR_VERSION = 8
_PRODUCER = "mobilenet-hub"

Attribute = int | float | str | Sequence[int]
_Sizes = Mapping[int | str | None, int]  # of what is open
_Chunks = list[bytes | memoryview]  # of a message, side by side: large data is not copied twice
_Message = list[tuple[int, Any]]  # numbers of fields with an int, float, text, data or message

# TensorProto.DataType and AttributeProto.AttributeType.
_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7}
_FLOAT, _INT, _STRING, _INTS = 1, 2, 3, 7


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a graph.

    Attributes:
        name: of its value.
        shape: sizes; a word for a size that is open, None for one that has no name either.
        dtype: of its elements.
    """

    name: str
    shape: Sequence[int | str | None]
    dtype: DTypeLike = np.float32


@dataclass(frozen=True, slots=True)
class Node:
    """An operator with its inputs, its one output, after which it is called, and attributes."""

    kind: str
    inputs: Sequence[str]
    output: str
    attributes: Mapping[str, Attribute]


@dataclass(slots=True)
class Graph:
    """A graph as it grows; to whatever is in it more outputs can be added.

    Attributes:
        name: for people.
        inputs, outputs: its ports.
        nodes: each after those it takes values from.
        constants: the arrays that nodes take, by name.
    """

    name: str
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)

    def to_bytes(self, *, batch: int | None = None, given: Collection[str] = ()) -> bytes:
        """The ONNX model.

        Args:
            batch: what the size called `batch` is; open by default.
            given: constants that become inputs, after the others, and are left out: for engines
                which take them as they lie in memory.
        """
        sizes: _Sizes = {} if batch is None else {"batch": batch}
        constants = {name: value for name, value in self.constants.items() if name not in given}
        inputs = [
            *self.inputs,
            *(Port(name, self.constants[name].shape, self.constants[name].dtype) for name in given),
        ]
        graph: _Message = [
            *((1, _node(node)) for node in self.nodes),
            (2, self.name),
            *((5, _tensor(name, value)) for name, value in constants.items()),
            *((11, _port(port, sizes)) for port in inputs),
            *((12, _port(port, sizes)) for port in self.outputs),
        ]
        model = [(1, IR_VERSION), (2, _PRODUCER), (7, graph), (8, [(1, ""), (2, OPSET)])]
        return b"".join(_encoded(model))


def _node(node: Node) -> _Message:
    attributes = [(5, _attribute(*pair)) for pair in sorted(node.attributes.items())]
    inputs = [(1, name) for name in node.inputs]
    return [*inputs, (2, node.output), (3, node.output), (4, node.kind), *attributes]


def _attribute(name: str, value: Attribute) -> _Message:
    match value:
        case int():
            content: _Message = [(3, value), (20, _INT)]
        case float():
            content = [(2, value), (20, _FLOAT)]
        case str():
            content = [(4, value), (20, _STRING)]
        case _:
            content = [*((8, number) for number in value), (20, _INTS)]
    return [(1, name), *content]


def _tensor(name: str, value: NDArray[Any]) -> _Message:
    little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
    sizes, data = [(1, size) for size in value.shape], little.reshape(-1).view(np.uint8).data
    return [*sizes, (2, _TYPES[value.dtype.name]), (8, name), (9, data)]


def _port(port: Port, sizes: _Sizes) -> _Message:
    dimensions = [
        (1, [] if size is None else [(1 if isinstance(size, int) else 2, size)])
        for size in (sizes.get(size, size) for size in port.shape)
    ]
    tensor = [(1, _TYPES[np.dtype(port.dtype).name]), (2, dimensions)]
    return [(1, port.name), (2, [(1, tensor)])]


def _encoded(message: _Message) -> _Chunks:
    chunks: _Chunks = []
    for number, value in message:
        match value:
            case int():
                chunks.append(_varint(number << 3) + _varint(value & (1 << 64) - 1))
                continue
            case float():
                chunks.append(_varint(number << 3 | 5) + struct.pack("<f", value))
                continue
            case str():
                content: _Chunks = [value.encode()]
            case list():
                content = _encoded(value)
            case _:
                content = [value]
        chunks += [_varint(number << 3 | 2) + _varint(sum(map(len, content))), *content]
    return chunks


def _varint(value: int) -> bytes:
    """Seven bits a byte, lowest first; the eighth says that more follow."""
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)
