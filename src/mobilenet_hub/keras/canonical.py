"""Between Keras variables and canonical weights, both ways, without loss.

A variable belongs to a canonical tensor if its `path` ends in that tensor's name; layers of this
library name theirs so wherever in a model they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import TensorMismatchError
from mobilenet_hub.keras.convolution import Logits
from mobilenet_hub.keras.naming import ROOTS
from mobilenet_hub.networks import Network
from mobilenet_hub.weights.canonical import Weights, from_tensors


def variables_by_name(layer: keras.layers.Layer) -> dict[str, keras.Variable]:
    """The MobileNet variables of a layer or model by canonical name, in its own order.

    Raises:
        TensorMismatchError: there is more than one MobileNet in it.
    """
    found: dict[str, keras.Variable] = {}
    for variable in layer.weights:
        if variable.path.startswith(ROOTS):
            if variable.path in found:
                raise TensorMismatchError(
                    f"{layer.name}, which holds two networks (pass the layer of one)",
                    extra=[variable.path],
                )
            found[variable.path] = variable
    return found


def to_weights(
    layer: keras.layers.Layer,
    *,
    metadata: Mapping[str, str] | None = None,
    network: Network | None = None,
) -> Weights:
    """The weights that a layer or model has now, in canonical form.

    Args:
        layer: a `KerasLayer`, a `mobilenet_hub.keras.model`, or any model with one of them in it.
        metadata: their provenance; by default, what the layer of the logits knows of its classes.
        network: what they are of; told by their shapes for every depth multiplier of the catalogue.

    Raises:
        TensorMismatchError: it holds no MobileNet, or two.
        WeightsError: values that are not finite: the training went wrong.
    """
    if metadata is None:
        logits = (part for part in layer._flatten_layers() if isinstance(part, Logits))
        metadata = {key: text for part in logits for key, text in part.classifier.items()}
    tensors = {name: as_float32(v).copy() for name, v in variables_by_name(layer).items()}
    where = f"the Keras layer {layer.name!r}"
    return from_tensors(tensors, metadata=metadata, where=where, expected=network)


def share_variables(layer: keras.layers.Layer, variables: Mapping[str, Any]) -> None:
    """Make the variables of a layer, on TensorFlow, those `tf.Variable`s, by canonical name.

    Keras has no public way to wrap a variable that is there already; its own do no more.
    """
    for name, variable in variables_by_name(layer).items():
        variable._value = variables[name]
    layer.is_unset = False


def wrapped_variables(module: Any) -> list[keras.Variable]:
    """The variables of a callable as Keras's own, on TensorFlow: shared, not copied.

    Keras finds those of its own layers and models itself.
    """
    if isinstance(module, keras.layers.Layer) or keras.backend.backend() != "tensorflow":
        return []
    trainable = list(getattr(module, "trainable_variables", ()))
    among = {id(variable) for variable in trainable}
    others = [v for v in getattr(module, "variables", ()) if id(v) not in among]
    wrapped = []
    for variables, is_trainable in ((trainable, True), (others, False)):
        for variable in variables:
            name = variable.name.partition(":")[0].replace("/", "_")
            mine = keras.Variable(variable, trainable=is_trainable, name=name)
            mine._value = variable
            wrapped.append(mine)
    return wrapped


def assign_weights(layer: keras.layers.Layer, weights: Weights) -> None:
    """Give the MobileNet in a layer or model these weights.

    Weights with logits fit a network without; not the other way round.

    Raises:
        TensorMismatchError: lists all tensors that do not fit.
    """
    variables = variables_by_name(layer)
    missing = [name for name in variables if name not in weights.tensors]
    extra = [n for n in weights.tensors if n not in variables and "/Logits/" not in n]
    misshapen = [
        f"{name} (expected {tuple(variable.shape)}, received {weights.tensors[name].shape})"
        for name, variable in variables.items()
        if name in weights.tensors and tuple(variable.shape) != weights.tensors[name].shape
    ]
    if missing or extra or misshapen:
        source = weights.metadata.get("source", "these weights")
        raise TensorMismatchError(
            f"{source}, given to the Keras layer {layer.name!r},", missing, extra, misshapen
        )
    for name, variable in variables.items():
        value: Any = weights.tensors[name]
        variable.assign(value)


def as_float32(variable: keras.Variable) -> NDArray[np.float32]:
    """The values, perhaps in the variable's own memory."""
    array: NDArray[Any] = keras.ops.convert_to_numpy(variable.value)
    return array.astype(np.float32, copy=False)
