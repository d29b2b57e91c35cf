"""What a SavedModel computes: its graph, with the functions that it calls written out.

A signature of TensorFlow 2 is a node that calls a function, which calls others
(tensorflow/core/framework/function.proto); one of TensorFlow 1 is a part of the graph itself.
Variables are nodes of the graph either way. Which of the checkpoint's tensors each of them holds is
said by the function that restores them or, in TensorFlow 1, by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mobilenet_hub.weights.readers.base import Array, damaged, read_file
from mobilenet_hub.weights.readers.dataflow import Constant, Dataflow, Node
from mobilenet_hub.weights.readers.tensorflow.graph_def import attributes_of, constant_of, node_of
from mobilenet_hub.weights.readers.tensorflow.protobuf import Message
from mobilenet_hub.weights.readers.tensorflow.tensor_bundle import TensorBundle

MAX_GRAPH_BYTES = 64 << 20
MAX_NODES, MAX_DEPTH = 50_000, 32
CALLS = ("StatefulPartitionedCall", "PartitionedCall")
VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
DEFAULT_SIGNATURES = ("serving_default", "default")
# Outputs that are not the first of their operation, FusedBatchNorm.
OTHER_OUTPUTS = ("batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2",
                 "reserve_space_3")  # fmt: skip


def read_signature(path: Path, bundle: TensorBundle) -> Dataflow:
    """The graph of a SavedModel's signature, its variables as constants.

    Args:
        path: of `saved_model.pb`.
        bundle: its variables.

    Raises:
        WeightsError: the file is damaged, does not say which signature is meant, or calls functions
            without end.
    """
    where = str(path)
    model = Message(read_file(path, "The graph of the SavedModel", MAX_GRAPH_BYTES), where)
    graphs = list(model.messages(2))
    serving = [graph for graph in graphs if "serve" in graph.message(1).texts(4)] or graphs
    if len(serving) != 1:
        raise damaged(where, "one graph to serve", len(serving))
    signatures = {entry.text(1): entry.message(2) for entry in serving[0].messages(5)}
    named = [name for name in DEFAULT_SIGNATURES if name in signatures]
    if not named:
        raise damaged(where, f"a signature {' or '.join(DEFAULT_SIGNATURES)}", list(signatures)[:9])
    outputs = [entry.message(2).text(1) for entry in signatures[named[0]].messages(2)]
    graph = _Graph(serving[0].message(2), bundle, where)
    graph.add_all({output.partition(":")[0] for output in outputs})
    return Dataflow(graph.nodes, graph.constants, where)


class _Graph:
    """A `GraphDef` that is written out as nodes and constants."""

    def __init__(self, message: Message, bundle: TensorBundle, where: str) -> None:
        self.nodes: dict[str, Node] = {}
        self.constants: dict[str, Constant] = {}
        self._bundle, self._where = bundle, where
        self._top = {node.text(1): node for node in message.messages(1)}
        library = message.message(2).messages(1)
        self._functions = {function.message(1).text(1): function for function in library}

    def add_all(self, outputs: set[str]) -> None:
        """Add the whole graph, and the functions whose calls give one of these values."""
        keys = self._restored()
        for name, node in self._top.items():
            operation, inputs = node.text(2), tuple(i.removesuffix(":0") for i in _inputs(node))
            if operation in VARIABLES:
                shared = attributes_of(node).get("shared_name")
                named = shared.text(2) if shared and operation == "VarHandleOp" else name
                self._add_variable(name, keys.get(name, named or name))
            elif operation in CALLS:
                if name in outputs:
                    self._add_call(name, node, inputs, 0)
            else:
                self._add_operation(name, node, inputs)

    def _add_variable(self, name: str, key: str) -> None:
        entry = self._bundle.entries.get(key)
        if entry is None:
            return  # a counter that was not saved; what takes it is refused by name

        def load() -> Array:
            return self._bundle.read({name: key})[name]

        self.constants[name] = Constant(entry.shape, load)

    def _add_operation(self, name: str, node: Message, inputs: tuple[str, ...]) -> None:
        if len(self.nodes) + len(self.constants) >= MAX_NODES:
            raise damaged(self._where, f"at most {MAX_NODES:,} operations", "more")
        attributes = attributes_of(node)
        if node.text(2) == "Const":
            self.constants[name] = constant_of(attributes, f"{self._where} ({name})")
        else:
            self.nodes[name] = node_of(name, node.text(2), inputs, attributes, self._where)

    def _add_call(self, name: str, node: Message, inputs: tuple[str, ...], depth: int) -> None:
        """The nodes of a function, below the name of the call; and its outputs, by that name."""
        function = self._called(node)
        if function is None or depth > MAX_DEPTH:
            expected = f"functions of its own, called at most {MAX_DEPTH} deep"
            raise damaged(self._where, expected, f"a call in {name}")
        signature = function.message(1)
        arguments = dict(zip((a.text(1) for a in signature.messages(2)), inputs, strict=False))

        def value(reference: str) -> str:
            """The value that is called `argument` or `node:output:number` in the function."""
            if reference in arguments:
                return arguments[reference]
            inner, _, place = reference.partition(":")
            output, _, number = place.partition(":")
            if output in OTHER_OUTPUTS or number not in ("", "0"):
                return f"{name}/{inner}:{output}:{number}"
            return f"{name}/{inner}"

        for inner in function.messages(3):
            path, taken = f"{name}/{inner.text(1)}", tuple(map(value, _inputs(inner)))
            if inner.text(2) in CALLS:
                self._add_call(path, inner, taken, depth + 1)
            else:
                self._add_operation(path, inner, taken)
        returned = {entry.text(1): entry.text(2) for entry in function.messages(4)}
        for number, output in enumerate(signature.messages(3)):
            own = name if number == 0 else f"{name}:output:{number}"
            self.nodes[own] = Node(own, "same", (value(returned.get(output.text(1), "")),))

    def _called(self, node: Message) -> Message | None:
        attribute = attributes_of(node).get("f")
        return self._functions.get(attribute.message(10).text(1)) if attribute else None

    def _restored(self) -> Mapping[str, str]:
        """Variables, by the name of their node, to their keys in the checkpoint."""
        keys: dict[str, str] = {}
        for node in self._top.values():
            function = self._called(node) if node.text(2) in CALLS else None
            if function is None:
                continue
            inner = {each.text(1): each for each in function.messages(3)}
            if not any(each.text(2) == "RestoreV2" for each in inner.values()):
                continue
            arguments = [argument.text(1) for argument in function.message(1).messages(2)]
            handles = dict(zip(arguments, _inputs(node), strict=False))
            for each in inner.values():
                if each.text(2) == "AssignVariableOp" and len(_inputs(each)) == 2:
                    handle, restored = _inputs(each)
                    if handle in handles and (key := self._key(restored, inner)):
                        keys[handles[handle].removesuffix(":0")] = key
        return keys

    def _key(self, value: str, nodes: Mapping[str, Message]) -> str | None:
        """What the tensor is called in the checkpoint that a value of a restoring function is."""
        for _ in range(MAX_DEPTH):
            name, _, place = value.partition(":")
            node = nodes.get(name)
            if node is None or not _inputs(node):
                return None
            if node.text(2) == "RestoreV2":
                names = nodes.get(_inputs(node)[1].partition(":")[0])
                texts = attributes_of(names)["value"].message(8).texts(8) if names else []
                number = place.rpartition(":")[2]
                return (
                    texts[int(number)] if number.isdecimal() and int(number) < len(texts) else None
                )
            value = _inputs(node)[0]
        return None


def _inputs(node: Message) -> list[str]:
    """The values that a `NodeDef` takes; `^name` only says to run after it."""
    return [value for value in node.texts(3) if not value.startswith("^")]
