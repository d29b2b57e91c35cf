"""How variables of a MobileNet are named in Keras: their `path` is TF-Slim's name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

from mobilenet_hub.errors import TensorMismatchError

_ROOTS = ("MobilenetV1", "MobilenetV2")


def is_canonical(path: str) -> bool:
    """Whether a variable's path is a canonical name."""
    return path.partition("/")[0] in _ROOTS


def save_by_name(variables: Iterable[keras.Variable], store: Any) -> None:
    """Put a layer's own variables into a Keras file under their names, not numbers."""
    for variable in variables:
        store[_key(variable)] = variable


def load_by_name(variables: Iterable[keras.Variable], store: Any, where: str) -> None:
    """Read them back.

    Raises:
        TensorMismatchError: the file is of another network.
    """
    found = {_key(variable): variable for variable in variables}
    if missing := [key for key in found if key not in store]:
        raise TensorMismatchError(f"the file, for the layer {where!r},", missing=missing)
    for key, variable in found.items():
        variable.assign(store[key])


def _key(variable: keras.Variable) -> str:
    return str(variable.path if is_canonical(variable.path) else variable.name)
