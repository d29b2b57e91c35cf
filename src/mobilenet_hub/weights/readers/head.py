"""What a file computes of the features of its network: a classifier's head, found in its graph.

Whatever format a classifier comes in, its reader lowers it to a `Dataflow`, and the way is
followed here from the features to the end. Dropout and reshaping do nothing; what is affine (dense
layers, 1×1 convolutions, batch norm, scales and shifts) is multiplied out, in float64, so that a
dense layer remains, or two with ReLU between them. A head is kept whole or not at all: whatever
else is found is an `UnreadHeadError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.networks import NUM_CLASSES
from mobilenet_hub.settings import Probabilities
from mobilenet_hub.weights.readers.base import Array, Reading, UnreadHeadError, finished
from mobilenet_hub.weights.readers.dataflow import Dataflow, Node

MAX_OPERATIONS = 50
ACTIVATIONS: dict[str, Probabilities] = {"softmax": "softmax", "sigmoid": "sigmoid"}
AFFINE = ("matmul", "conv", "add", "sub", "mul", "div", "batch_norm")
_HIDDEN, _LOGITS = "Hidden", "Conv2d_1c_1x1"  # scopes below `MobilenetV2/Logits`


class Dense(NamedTuple):
    """A dense layer: kernel float32 [inputs, units], biases float32 [units]."""

    kernel: Array
    biases: Array


@dataclass(frozen=True, slots=True)
class Head:
    """What makes logits, and probabilities, of features.

    Attributes:
        logits: the last dense layer.
        hidden: one before it, followed by ReLU.
        activation: what makes probabilities of logits; None where the file ends with the logits.
    """

    logits: Dense
    hidden: Dense | None = None
    activation: Probabilities | None = None

    @property
    def is_imagenet(self) -> bool:
        """Whether it can be the published network's own, background included or not."""
        classes = len(self.logits.biases)
        return self.hidden is None and classes in (NUM_CLASSES, NUM_CLASSES - 1)

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> Head | None:
        """The one among canonical tensors; None where there is none."""
        layers: dict[str, dict[str, Array]] = {}
        for name, array in tensors.items():
            if "/Logits/" in name:
                layer, _, variable = name.partition("/Logits/")[2].partition("/")
                layers.setdefault(layer, {})[variable] = array
        dense = {
            layer: Dense(variables["weights"][0, 0], variables["biases"])
            for layer, variables in layers.items()
            if {"weights", "biases"} <= variables.keys()
        }
        return cls(dense[_LOGITS], dense.get(_HIDDEN)) if _LOGITS in dense else None

    def tensors(self, scope: str) -> dict[str, Array]:
        """The layers by their names in canonical weights, below `MobilenetV1` or `MobilenetV2`."""
        layers = {_HIDDEN: self.hidden, _LOGITS: self.logits}
        return {
            f"{scope}/Logits/{layer}/{name}": array
            for layer, dense in layers.items()
            if dense is not None
            for name, array in (
                ("weights", dense.kernel[np.newaxis, np.newaxis]),
                ("biases", dense.biases),
            )
        }


@dataclass(frozen=True, slots=True)
class Features:
    """Where in a graph the features of its network are.

    Attributes:
        value: the name they have there.
        number: how many there are.
        pooled: whether they are; else they are those of each cell of the last convolution's map.
        map_size: height and width of that map; None where the file does not tell.
        through: a head that belongs to the network, whose logits the value is instead.
    """

    value: str
    number: int
    pooled: bool = False
    map_size: int | None = None
    through: Head | None = None


def with_head(reading: Reading, graph: Dataflow, features: Features) -> Reading:
    """A reading of a network with the head that its file has, or why that cannot be kept.

    Args:
        reading: whose classification layer, if any, the head of the graph replaces.
        graph: with the network in it.
        features: where they are.
    """
    tensors = {name: array for name, array in reading.tensors.items() if "/Logits/" not in name}
    scope = next(iter(tensors)).partition("/")[0]
    try:
        head = read_head(graph, features)
    except UnreadHeadError as error:
        return replace(reading, tensors=tensors, unread=error)
    if head is None:
        return reading
    named = finished(head.tensors(scope))
    return replace(reading, tensors=tensors | named, activation=head.activation)


def read_head(graph: Dataflow, features: Features) -> Head | None:
    """The head that takes a network's features; None if nothing does.

    Where several things take them, a head is chosen only if it is the one of ImageNet's classes,
    which the network was published with.

    Raises:
        UnreadHeadError: something takes them that is no such head.
        WeightsError: its constants are damaged, or no floats.
    """
    value = features.value
    if not features.pooled:
        pools = _users(graph, value)
        if not pools:
            return None
        value = _pooled(graph, pools, features)
    heads, refusals = [], []
    users = _users(graph, value)
    for node in users:
        try:
            heads.append(_follow(graph, value, node, features))
        except UnreadHeadError as error:
            refusals.append(error)
    if len(users) > 1 and (len(heads) != 1 or not heads[0].is_imagenet):
        kinds = ", ".join(sorted(node.kind for node in users))
        raise UnreadHeadError(graph.where, "one layer on the features", f"{len(users)}: {kinds}")
    if refusals and not heads:
        raise refusals[0]
    return heads[0] if heads else None


def _pooled(graph: Dataflow, nodes: list[Node], features: Features) -> str:
    """The means of the whole map, the only thing that takes it."""
    kinds = ", ".join(sorted(node.kind for node in nodes))
    if kinds != "pool":
        raise UnreadHeadError(graph.where, "the mean of each channel over the whole map", kinds)
    window = nodes[0].window
    if window is not None and features.map_size not in (None, window):
        expected = f"the mean of all {features.map_size}×{features.map_size} cells of the map"
        raise UnreadHeadError(graph.where, expected, f"of {window}×{window}")
    return nodes[0].output


def _users(graph: Dataflow, value: str) -> list[Node]:
    return [node for node in graph.users(value) if node.kind != "shape"]


def _follow(graph: Dataflow, value: str, first: Node, features: Features) -> Head:
    """The head that begins with a node, to its end."""
    affine, hidden = _Affine(features.number), None
    if features.through is not None:
        (kernel, biases), hidden = features.through.logits, features.through.hidden
        affine = _Affine(len(kernel)).times(kernel.astype(np.float64))
        affine = affine.scaled(np.ones(1), biases.astype(np.float64))
    node: Node | None = first
    for _ in range(MAX_OPERATIONS):
        if node is None or node.kind in ACTIVATIONS:
            break
        if node.kind in AFFINE:
            affine = _applied(graph, affine, node, value)
        elif node.kind == "relu" and hidden is None and not affine.is_identity:
            hidden = affine.dense()
            affine = _Affine(affine.units)
        else:
            layers = "dense layers, at most two with ReLU between, then softmax, sigmoid or nothing"
            raise UnreadHeadError(graph.where, layers, f"{node.kind} ({node.output})")
        value = node.output
        following = _users(graph, value)
        if len(following) > 1:
            kinds = ", ".join(sorted(user.kind for user in following))
            raise UnreadHeadError(graph.where, f"one operation after {value}", kinds)
        node = following[0] if following else None
    else:
        raise UnreadHeadError(graph.where, f"at most {MAX_OPERATIONS} operations", "more")
    if affine.is_identity:
        raise UnreadHeadError(graph.where, "a dense layer at the end", graph.kind(value))
    if node and (after := [user.kind for user in graph.users(node.output, *AFFINE)]):
        raise UnreadHeadError(graph.where, f"nothing computed after {node.kind}", after)
    return Head(affine.dense(), hidden, ACTIVATIONS[node.kind] if node else None)


@dataclass(frozen=True, slots=True)
class _Affine:
    """What has been computed so far of a layer's inputs: `inputs @ kernel + shift`.

    Attributes:
        inputs: how many there are.
        kernel: float64 [inputs, units]; None for the inputs themselves.
        shift: float64 [units], or a zero for all.
    """

    inputs: int
    kernel: NDArray[np.float64] | None = None
    shift: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))

    @property
    def is_identity(self) -> bool:
        """Whether nothing has been computed yet."""
        return self.kernel is None

    @property
    def units(self) -> int:
        """How many values there are now."""
        return self.inputs if self.kernel is None else self.kernel.shape[1]

    def times(self, kernel: NDArray[np.float64]) -> _Affine:
        """With a matrix product after it."""
        if self.kernel is None:
            return _Affine(self.inputs, kernel)
        shift = np.broadcast_to(self.shift, self.units)
        return _Affine(self.inputs, self.kernel @ kernel, shift @ kernel)

    def scaled(self, scale: NDArray[np.float64], shift: NDArray[np.float64]) -> _Affine:
        """With every value scaled and shifted."""
        whole = np.broadcast_to(scale, self.units)
        kernel = np.diag(whole) if self.kernel is None else self.kernel * whole
        return _Affine(self.inputs, kernel, self.shift * whole + shift)

    def dense(self) -> Dense:
        """As a layer, rounded to float32; a single layer of float32 is what it was, bit for bit."""
        assert self.kernel is not None
        biases = np.broadcast_to(self.shift, self.units)
        return Dense(self.kernel.astype(np.float32), biases.astype(np.float32))


def _applied(graph: Dataflow, affine: _Affine, node: Node, value: str) -> _Affine:
    """An affine operation after others."""
    if graph.inputs(node)[0] != value and node.kind not in ("add", "mul"):
        raise UnreadHeadError(graph.where, f"{value} as the first input", node.kind)
    if node.kind in ("matmul", "conv"):
        kernel = graph.kernel(node)
        if kernel.shape[:3] != (1, 1, affine.units):
            shape = kernel.shape if node.kind == "conv" else kernel.shape[2:]
            raise UnreadHeadError(graph.where, f"a layer of {affine.units} inputs", shape)
        return affine.times(kernel[0, 0].astype(np.float64))
    if node.kind == "batch_norm":
        gamma, beta, mean, variance = (
            graph.vector(name).astype(np.float64) for name in graph.inputs(node)[1:]
        )
        scale = gamma / np.sqrt(variance + node.epsilon)
        return _scaled(graph, affine, scale, beta - mean * scale)
    other = graph.other(node, value)
    if other is None or other not in graph.constants:
        raise UnreadHeadError(graph.where, f"a constant in {node.output}", graph.kind(other or ""))
    number = graph.load(other).astype(np.float64).reshape(-1)
    if node.kind in ("add", "sub"):
        return _scaled(graph, affine, np.ones(1), number if node.kind == "add" else -number)
    with np.errstate(divide="ignore"):  # what is not finite is refused with the weights
        return _scaled(graph, affine, number if node.kind == "mul" else 1 / number, np.zeros(1))


def _scaled(
    graph: Dataflow, affine: _Affine, scale: NDArray[np.float64], shift: NDArray[np.float64]
) -> _Affine:
    if not {len(scale), len(shift)} <= {1, affine.units}:
        shapes = f"{len(scale)} and {len(shift)}"
        raise UnreadHeadError(graph.where, f"1 or {affine.units} scales and shifts", shapes)
    return affine.scaled(scale, shift)


def without_head(reading: Reading, others: Mapping[str, tuple[int, ...]], where: str) -> Reading:
    """A reading of a file that has variables and does not say what is computed with them.

    Args:
        reading: of a network.
        others: shapes of the variables besides the network's, by name. A matrix that takes the
            features, pooled or not, is taken for the first of a head, which cannot be kept.
        where: the file, for the message.
    """
    features = reading.num_features
    found = [
        f"{name} {shape}"
        for name, shape in others.items()
        if features and _takes(shape, features) and "MobilenetV" not in name
    ]
    if not found or reading.unread:
        return reading
    wanted = "a file that says what it computes: the whole model, as .keras, .h5 or SavedModel"
    return replace(reading, unread=UnreadHeadError(where, wanted, ", ".join(found[:5])))


def _takes(shape: tuple[int, ...], features: int) -> bool:
    matrix = shape[2:] if len(shape) == 4 and shape[:2] == (1, 1) else shape
    return len(matrix) == 2 and matrix[0] >= features and matrix[0] % features == 0
