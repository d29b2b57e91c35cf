"""A graph of operations, whatever file it came from, reduced to what a MobileNet is made of.

The readers of frozen graphs, SavedModels, TFLite files and Keras configurations lower theirs to the
nodes here. `tensorflow/match_network.py` follows them through a network, `head.py` from there on.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.readers.base import MAX_WEIGHTS_BYTES, Array, short

MAX_INTEGERS = 16  # the largest that are asked for say how four dimensions are padded


@dataclass(frozen=True, slots=True)
class Node:
    """One operation.

    Attributes:
        output: name of the value it computes.
        kind: `conv`, `depthwise`, `batch_norm` (inputs: value, gamma, beta, mean, variance),
            `matmul`, `add`, `sub`, `mul`, `div`, `rsqrt`, `relu`, `relu6`, `pool` (mean), `pad`
            (inputs: value, and how much before and after), `resize`, `softmax`, `sigmoid`, `shape`
            (of a value, not its contents), `same` (passes its first input on), or the file's own
            name of any other operation.
        inputs: names of values.
        stride: of a convolution.
        same_padding: of a convolution: SAME, else VALID.
        epsilon: of batch norm.
        kernel_axes: of a convolution: which axes of its kernel are height, width, in, out; of a
            matrix product: which are in, out.
        window: height and width of what a `pool` takes the mean of; None for the whole map.
    """

    output: str
    kind: str
    inputs: tuple[str, ...]
    stride: int = 1
    same_padding: bool = True
    epsilon: float = 0.0
    kernel_axes: tuple[int, ...] = (0, 1, 2, 3)
    window: int | None = None


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant value.

    Attributes:
        shape: of it.
        load: gets it as float32 when it is needed; refuses what is no float.
        integers: gets the few numbers of one that is int32, in a row; None of any other.
    """

    shape: tuple[int, ...]
    load: Callable[[], Array]
    integers: Callable[[], Sequence[int]] | None = None


class Dataflow:
    """Nodes and constants by the name of the value they provide.

    Values that only pass another one on (`same`) are seen through everywhere: each method that
    takes or returns a value means its origin.

    Args:
        nodes, constants: by value; no value is in both.
        where: the file, for error messages.
    """

    def __init__(
        self, nodes: Mapping[str, Node], constants: Mapping[str, Constant], where: str
    ) -> None:
        self.nodes = nodes
        self.constants = constants
        self.where = where
        self._origins: dict[str, str] = {}
        self._loaded_bytes = 0
        self._users: dict[str, list[Node]] = defaultdict(list)
        for node in nodes.values():
            if node.kind != "same":
                for value in dict.fromkeys(map(self.origin, node.inputs)):
                    self._users[value].append(node)

    def origin(self, value: str) -> str:
        """The value that this one is, past everything that passes it on as it is."""
        path: dict[str, None] = {}
        while value not in self._origins:
            if value in path:
                raise self.refusal("a graph without cycles", value)
            path[value] = None
            node = self.nodes.get(value)
            if node is None or node.kind != "same" or not node.inputs:
                self._origins[value] = value
            else:
                value = node.inputs[0]
        origin = self._origins[value]
        self._origins.update(dict.fromkeys(path, origin))
        return origin

    def users(self, value: str, *kinds: str) -> list[Node]:
        """The operations that take a value: all, or those of some kinds."""
        users = self._users.get(value, [])
        return [node for node in users if node.kind in kinds] if kinds else users

    def inputs(self, node: Node) -> list[str]:
        """The values that an operation takes."""
        return [self.origin(value) for value in node.inputs]

    def other(self, node: Node, value: str) -> str | None:
        """What an operation with two inputs takes besides `value`."""
        others = [origin for origin in self.inputs(node) if origin != value]
        return others[0] if len(others) == 1 and len(node.inputs) == 2 else None

    def is_constant(self, value: str | None, depth: int = 5) -> bool:
        """Whether a value is a constant, or computed from constants by a few operations."""
        if value is None or value in self.constants:
            return value is not None
        node = self.nodes.get(value)
        if node is None or node.kind not in ("add", "sub", "mul", "rsqrt"):
            return False
        if depth == 0 or not 1 <= len(node.inputs) <= 2:
            return False
        return all(self.is_constant(origin, depth - 1) for origin in self.inputs(node))

    def load(self, value: str) -> Array:
        """The float32 array of a constant.

        Raises:
            WeightsError: if it is none, or more is loaded than any network has.
        """
        constant = self.constants.get(value)
        if constant is None:
            raise self.refusal(f"a constant {value} (a frozen graph)", self.kind(value))
        self._loaded_bytes += 4 * math.prod(constant.shape)
        if self._loaded_bytes > MAX_WEIGHTS_BYTES:
            raise self.refusal(f"at most {MAX_WEIGHTS_BYTES:,} bytes of weights", "more")
        return constant.load()

    def integers(self, value: str) -> tuple[int, ...]:
        """The numbers of an int32 constant, in a row; none of anything else."""
        constant = self.constants.get(value)
        if (
            constant is None
            or constant.integers is None
            or math.prod(constant.shape) > MAX_INTEGERS
        ):
            return ()
        return tuple(constant.integers())

    def vector(self, value: str) -> Array:
        """The float32 [channels] of a constant."""
        array = self.load(value)
        if array.ndim != 1:
            raise self.refusal(f"a vector as {value}", array.shape)
        return array

    def kernel(self, node: Node) -> Array:
        """The kernel of a convolution or matrix product: float32 HWIO or HWI1."""
        value = self.inputs(node)[1] if len(node.inputs) > 1 else ""
        if (kind := self.kind(value)).startswith("FakeQuant"):
            raise WeightsError(
                f"{self.where} was trained for quantisation: its weights are meant to be rounded "
                f"to 8 bits and are not those of the float network. Received: {kind}"
            )
        array = self.load(value)
        if node.kind == "matmul" and array.ndim == 2:  # of features: a 1×1 convolution
            return array.transpose(node.kernel_axes)[np.newaxis, np.newaxis]
        if array.ndim != 4 or 0 in array.shape:
            raise self.refusal(f"a kernel of four dimensions for {node.output}", array.shape)
        kernel: Array = array.transpose(node.kernel_axes)
        if node.kind == "depthwise" and kernel.shape[3] != 1:
            raise self.refusal(f"one output for each input of {node.output}", kernel.shape)
        return kernel

    def is_stem(self, node: Node) -> bool:
        """Whether this is a convolution of an image: its kernel is for three channels."""
        if node.kind != "conv" or len(node.inputs) < 2:
            return False
        kernel = self.constants.get(self.inputs(node)[1])
        return (
            kernel is not None and len(kernel.shape) == 4 and kernel.shape[node.kernel_axes[2]] == 3
        )

    def kind(self, value: str) -> str:
        """What provides a value, in words."""
        if value in self.constants:
            return "a constant"
        return self.nodes[value].kind if value in self.nodes else "an input"

    def after(self, value: str) -> str:
        """What takes a value, in words."""
        return ", ".join(node.kind for node in self.users(value)[:5]) or "nothing"

    def refusal(self, expected: str, received: object) -> WeightsError:
        """The error for a graph that is not, in every way that matters, a MobileNet."""
        return WeightsError(
            f"{self.where} is not a MobileNet V1 or V2 as TF-Slim defines them, and only those can "
            f"be read: expected {short(expected)}. Received: {short(received)}"
        )
