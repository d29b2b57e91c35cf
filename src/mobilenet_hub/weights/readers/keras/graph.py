"""A Keras model's configuration as a graph of operations: what is around the network in it.

Sequential and functional models of Keras 2, Keras 3 and TensorFlow.js say in JSON which layers they
have and what each takes; models may be nested in models. The network itself is known by the names
of its variables already (`names.py`): here it only has to be found, between what comes before it
and what comes after.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mobilenet_hub.networks import BATCH_NORM_EPSILON, INPUT_RANGE
from mobilenet_hub.settings import Crop
from mobilenet_hub.weights.readers.base import Array, Reading, damaged, short
from mobilenet_hub.weights.readers.dataflow import Constant, Dataflow, Node
from mobilenet_hub.weights.readers.head import Features, Head, with_head
from mobilenet_hub.weights.readers.input_range import input_range

MAX_LAYERS, MAX_DEPTH = 5_000, 16
INPUT = "the model's input"

# Layers that pass their input on when they do not train.
_SAME = {
    "ActivityRegularization", "AlphaDropout", "Dropout", "Flatten", "GaussianDropout",
    "GaussianNoise", "Identity", "InputLayer", "RandomBrightness", "RandomContrast", "RandomFlip",
    "RandomRotation", "RandomTranslation", "RandomZoom", "Reshape", "SpatialDropout2D",
}  # fmt: skip
_KINDS = {
    "BatchNormalization": "batch_norm", "Conv2D": "conv", "Dense": "matmul",
    "DepthwiseConv2D": "depthwise", "GlobalAveragePooling2D": "pool", "AveragePooling2D": "pool",
    "Resizing": "resize", "Softmax": "softmax",
    **dict.fromkeys(_SAME, "same"),
}  # fmt: skip
# Operations on tensors are layers of their own: TFOpLambda in Keras 2, classes in Keras 3.
_OPERATIONS = {
    "math.truediv": "div", "math.divide": "div", "TrueDivide": "div", "Divide": "div",
    "math.subtract": "sub", "__operators__.sub": "sub", "Subtract": "sub",
    "math.multiply": "mul", "__operators__.mul": "mul", "Multiply": "mul",
    "math.add": "add", "__operators__.add": "add", "Add": "add",
}  # fmt: skip
_ACTIVATIONS = {"linear": "same", "relu": "relu", "relu6": "relu6", "softmax": "softmax",
                "sigmoid": "sigmoid"}  # fmt: skip
# Of keras.applications: the first convolution, what pads its images to SAME, the last batch norm.
_STEMS, _PADS, _LAST = (
    ("Conv1", "conv1"),
    ("Conv1_pad", "conv1_pad"),
    ("Conv_1_bn", "conv_pw_13_bn"),
)
# Of `mobilenet_hub.keras.model`, whose convolutions are layers with batch norm and activation.
_OWN_STEMS, _OWN_LAST = ("Conv", "Conv2d_0"), ("Conv_1", "Conv2d_13_pointwise")
_STATISTICS = ("gamma", "beta", "moving_mean", "moving_variance")


def with_surroundings(
    reading: Reading, config: Any, variables: Mapping[str, Constant], where: str
) -> Reading | None:
    """A reading of a network with what the configuration of its model says is around it.

    Args:
        reading: of the network's variables, and of its image size.
        config: of the model, as parsed from JSON.
        variables: all in the file, by their path there: layers and scopes, then the variable.
        where: the file, for error messages.

    Returns:
        The reading with head, input range and crop; None where there is no configuration, or none
        that shows the network.

    Raises:
        WeightsError: a configuration without end; something done to the image that cannot be kept.
    """
    lowering = _Lowering(reading.tensors, variables, where)
    lowering.model(config, (), INPUT, 0)
    graph = Dataflow(lowering.nodes, lowering.constants, where)
    module = lowering.find("network")
    stem, last = lowering.find("conv", _STEMS), lowering.find("batch_norm", _LAST)
    own_stem, own_last = (lowering.find("Convolution", names) for names in (_OWN_STEMS, _OWN_LAST))
    channels = reading.num_features
    scale, shift = 1.0, 0.0
    if module is not None:
        image, (low, high) = graph.inputs(module)[0], lowering.module_range
        scale, shift = high - low, low  # which the module does itself
        features = Features(module.output, channels, pooled=True)
    elif own_stem is not None and own_last is not None:
        image, features = graph.inputs(own_stem)[0], Features(own_last.output, channels)
    elif stem is not None and last is not None:
        image = graph.inputs(stem)[0]
        activations = graph.users(last.output, "relu6")
        value = activations[0].output if len(activations) == 1 else last.output
        size = reading.image_size
        features = Features(value, channels, map_size=-(-size // 32) if size else None)
    else:
        return None
    values, note = input_range(graph, image, scale, shift, image=INPUT)
    crop: Crop = "cover" if _is_teachable_machine(config) else "none"
    reading = replace(reading, input_range=values, notes=(*reading.notes, note), crop=crop)
    known = with_head(reading, graph, features)
    own = Head.of(reading.tensors)
    if known.unread is not None and module is not None and own is not None:
        # A module may have logits and give features: what takes its output tells which it gives.
        through = with_head(reading, graph, replace(features, through=own))
        return known if through.unread else through
    return known


class _Lowering:
    """Layers, as they are found, as nodes and constants.

    A layer's output has the layer's path for a name; what it computes before has longer ones.
    """

    def __init__(
        self, network: Mapping[str, Array], variables: Mapping[str, Constant], where: str
    ) -> None:
        self.nodes: dict[str, Node] = {}
        self.constants: dict[str, Constant] = {}
        self.module_range = INPUT_RANGE
        self._network = network
        self._where = where
        self._layers = 0
        self._variables: dict[str, list[tuple[tuple[str, ...], Constant]]] = {}
        for path, constant in variables.items():
            parts = tuple(path.removesuffix(":0").split("/"))
            for part in dict.fromkeys(parts[:-1]):
                self._variables.setdefault(part, []).append((parts, constant))

    def find(self, kind: str, layers: tuple[str, ...] = ()) -> Node | None:
        """The one node of a kind, of a layer that has one of these names."""
        nodes = (node for node in self.nodes.values() if node.kind == kind)
        found = [node for node in nodes if not layers or _layer(node) in layers]
        return found[0] if len(found) == 1 else None

    def model(self, model: Any, scope: tuple[str, ...], value: str, depth: int) -> str:
        """Add the layers of a model that takes `value`; returns what it gives."""
        inner = _mapping(model).get("config")
        layers = inner if isinstance(inner, list) else _mapping(inner).get("layers")
        if depth > MAX_DEPTH:
            raise damaged(self._where, f"models nested at most {MAX_DEPTH} deep", "more")
        functional = isinstance(inner, dict) and "output_layers" in inner
        for number, layer in enumerate(map(_mapping, _listed(layers))):
            own = _mapping(layer.get("config")).get("name", layer.get("name", f"layer {number}"))
            path, inputs, numbers = (*scope, str(own)), [value], list[float]()
            if functional and (calls := layer.get("inbound_nodes")):
                tensors, numbers = _arguments(calls)
                inputs = ["/".join((*scope, tensor)) for tensor in tensors]
            self.layer(layer, path, inputs or ["nothing"], numbers, depth)
            if not functional:
                value = "/".join(path)
        if not functional:
            return value
        outputs = _tensors(_mapping(inner).get("output_layers"))
        return "/".join((*scope, outputs[0] if len(outputs) == 1 else "several outputs"))

    def layer(
        self,
        layer: Mapping[str, Any],
        path: tuple[str, ...],
        inputs: list[str],
        numbers: list[float],
        depth: int,
    ) -> None:
        """Add a layer: the node of its path, and those before it."""
        self._layers += 1
        if self._layers > MAX_LAYERS:
            raise damaged(self._where, f"at most {MAX_LAYERS:,} layers", "more")
        config = _mapping(layer.get("config"))
        name, kind = "/".join(path), str(layer.get("class_name", "")).rpartition(">")[2]
        if "layers" in config or isinstance(layer.get("config"), list):
            output = self.model(layer, path, inputs[0], depth + 1)
            self._add(name, "same", [output])
        elif kind == "Rescaling":
            scaled = self._number(f"{name}/scaled", "mul", inputs[0], config.get("scale", 1))
            self._number(name, "add", scaled, config.get("offset", 0))
        elif kind == "InputScaling":  # this, Convolution and Logits are `mobilenet_hub.keras.model`
            low, high = _range(config)
            self._number(
                name, "add", self._number(f"{name}/scaled", "mul", inputs[0], high - low), low
            )
        elif kind == "Logits":
            self._head_layer(name, inputs, _mapping(config.get("layer")))
        elif (operation := _OPERATIONS.get(str(config.get("function", kind)))) and numbers:
            self._number(name, operation, inputs[0], numbers[0])
        elif kind == "Add":
            self._add(name, "add", inputs)
        elif kind == "Activation":
            self._add(name, _activation(config), inputs)
        elif kind == "ReLU":
            self._add(name, _relu(config), inputs)
        elif kind == "BatchNormalization":
            self._batch_norm(name, path, inputs, config)
        elif kind in ("Dense", "Conv2D", "DepthwiseConv2D"):
            self._product(name, path, inputs, kind, config)
        elif kind == "ZeroPadding2D" and path[-1] in _PADS:
            self._add(name, "same", inputs)
        elif kind == "KerasLayer" and not _gives_features(config):
            self._add(name, "a KerasLayer with outputs by name", inputs)
        elif kind == "KerasLayer":
            self.module_range = _range(config)
            self._add(name, "network", inputs)
        else:
            size = config.get("pool_size") if kind == "AveragePooling2D" else None
            window = _listed(size)[0] if _listed(size) else size
            window = None if size is None else window if isinstance(window, int) else -1
            self._add(name, _KINDS.get(kind, short(kind)), inputs, window=window)

    def _product(
        self,
        name: str,
        path: tuple[str, ...],
        inputs: list[str],
        kind: str,
        config: Mapping[str, Any],
    ) -> None:
        """A dense layer or convolution, its bias and its activation."""
        kernel = self._variable(f"{name}/kernel", path, ("kernel", "depthwise_kernel", "0"))
        axes = (0, 1) if kind == "Dense" else (0, 1, 2, 3)
        self._add(f"{name}/product", _KINDS[kind], [inputs[0], kernel], kernel_axes=axes)
        value = f"{name}/product"
        if config.get("use_bias", True):
            bias = self._variable(f"{name}/bias", path, ("bias", "1"))
            self._add(f"{name}/sum", "add", [value, bias])
            value = f"{name}/sum"
        self._add(name, _activation(config), [value])

    def _head_layer(self, name: str, inputs: list[str], layer: Mapping[str, Any]) -> None:
        """A dense layer that belongs to the network, its variables among the network's."""
        for variable in ("weights", "biases"):
            tensor = self._network.get(f"{layer.get('scope')}/{variable}")
            if tensor is not None:
                self.constants[f"{name}/{variable}"] = _constant(tensor)
        self._add(f"{name}/product", "conv", [inputs[0], f"{name}/weights"])
        self._add(f"{name}/sum", "add", [f"{name}/product", f"{name}/biases"])
        self._add(name, _activation(layer), [f"{name}/sum"])

    def _batch_norm(
        self, name: str, path: tuple[str, ...], inputs: list[str], config: Mapping[str, Any]
    ) -> None:
        left_out = {
            name for name, option in (("gamma", "scale"), ("beta", "center"))
            if not config.get(option, True)
        }  # fmt: skip
        there = [statistic for statistic in _STATISTICS if statistic not in left_out]
        values = [
            self._variable(f"{name}/{statistic}", path, (statistic, str(position)))
            for position, statistic in enumerate(there)
        ]
        kind = f"batch norm without {', '.join(left_out)}" if left_out else "batch_norm"
        epsilon = config.get("epsilon", BATCH_NORM_EPSILON)
        if not isinstance(epsilon, float):
            raise damaged(self._where, f"an epsilon in {name}", epsilon)
        self._add(name, kind, [inputs[0], *values], epsilon=epsilon)

    def _variable(self, name: str, path: tuple[str, ...], variables: tuple[str, ...]) -> str:
        """The name of a constant, which is there if the file has that variable of that layer."""
        found = [
            (len(set(path) & set(parts)), constant)
            for parts, constant in self._variables.get(path[-1], ())
            if parts[-1] in variables
        ]
        most = max((common for common, _ in found), default=0)
        nearest = [constant for common, constant in found if common == most]
        if len(nearest) == 1:  # layers of several models may have one name
            self.constants[name] = nearest[0]
        return name

    def _number(self, name: str, kind: str, value: str, number: Any) -> str:
        """An operation with a number, or one for each channel."""
        try:
            array: Array = np.asarray(number, np.float32)
        except (TypeError, ValueError) as error:
            raise damaged(self._where, f"a number in {name}", number) from error
        self.constants[f"{name}/number"] = _constant(array)
        self._add(name, kind, [value, f"{name}/number"])
        return name

    def _add(self, name: str, kind: str, inputs: Sequence[str], **more: Any) -> None:
        if name in self.nodes:
            raise damaged(self._where, "layers with names of their own", repr(name))
        self.nodes[name] = Node(name, kind, tuple(inputs), **more)


def _constant(array: Array) -> Constant:
    return Constant(array.shape, lambda: array)


def _range(config: Mapping[str, Any]) -> tuple[float, float]:
    """What one of this library's layers brings black and white to."""
    values = _listed(config.get("input_range"))
    numbers = [float(v) for v in values if isinstance(v, int | float) and math.isfinite(v)]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else INPUT_RANGE


def _arguments(calls: Any) -> tuple[list[str], list[float]]:
    """The layers whose tensors a layer is called on, and the numbers besides.

    Keras 2 and TensorFlow.js: `[[["name", 0, 0, {}], ...]]`, of an operation
    `[["name", 0, 0, {"y": 2.0}]]`. Keras 3: `[{"args": [...], "kwargs": {}}]`, tensors as objects.
    """
    call = calls[0] if isinstance(calls, list) and len(calls) == 1 else None
    if isinstance(call, dict):
        arguments = [*_listed(call.get("args")), *_mapping(call.get("kwargs")).values()]
    elif isinstance(call, list) and call and isinstance(call[0], str):
        arguments = [call[:3], *_mapping(call[3] if len(call) > 3 else {}).values()]
    else:
        arguments = [entry[:3] for entry in _listed(call) if isinstance(entry, list)]
    tensors = [name for argument in arguments for name in _tensors(argument)]
    numbers = [n for n in arguments if isinstance(n, int | float) and not isinstance(n, bool)]
    return tensors, numbers


def _tensors(argument: Any) -> list[str]:
    """Names of the layers that give the tensors of an argument."""
    if isinstance(argument, dict):
        return _tensors(_mapping(argument.get("config")).get("keras_history"))
    if isinstance(argument, list) and argument and isinstance(argument[0], str):
        return [argument[0]] if len(argument) >= 3 else []
    return [name for entry in _listed(argument) for name in _tensors(entry)]


def _activation(config: Mapping[str, Any]) -> str:
    activation = config.get("activation") or "linear"
    if isinstance(activation, dict):  # an object, or a function by its name
        activation = activation.get("config")
    text = activation if isinstance(activation, str) else "an activation"
    return _ACTIVATIONS.get(text, short(text))


def _gives_features(config: Mapping[str, Any]) -> bool:
    """Whether a KerasLayer is called as the module's pages say: images in, one tensor out."""
    outputs = (config.get("output_key") or "default", config.get("signature") or "default")
    return outputs == ("default", "default") and not config.get("signature_outputs_as_dict")


def _relu(config: Mapping[str, Any]) -> str:
    bounds = (config.get("negative_slope") or 0, config.get("threshold") or 0)
    kind = {None: "relu", 6: "relu6"}.get(config.get("max_value"))
    return kind if kind and bounds == (0, 0) else "a ReLU of its own"


def _is_teachable_machine(model: Any) -> bool:
    """Whether a model has Teachable Machine's two parts, the second without a bias at its end."""
    parts = [_inner(part) for part in _inner(model)]
    if len(parts) != 2 or len(parts[1]) != 2:
        return False
    hidden, last = (_mapping(layer.get("config")) for layer in parts[1])
    return (hidden.get("activation"), last.get("use_bias")) == ("relu", False)


def _inner(model: Any) -> list[Mapping[str, Any]]:
    config = _mapping(model).get("config")
    layers = config if isinstance(config, list) else _mapping(config).get("layers")
    found = [_mapping(layer) for layer in _listed(layers)]
    return [layer for layer in found if layer.get("class_name") != "InputLayer"]


def _layer(node: Node) -> str:
    """The name of a node's layer, without those of the models around it."""
    return node.output.removesuffix("/product").rpartition("/")[2]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
