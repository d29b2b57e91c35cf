"""In which order an HDF5 file that Keras is loading holds the weights of a layer.

Keras gives a layer the weights of an `.h5` file by position alone. `tensorflow_hub`'s `KerasLayer`
wrote them in the order of the SavedModel it had loaded, which is another for every module; their
names are in the file, but no layer is told. So a `KerasLayer` that is being made from its config
asks here, and takes its weights in the order of the file.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from typing import Any

from mobilenet_hub.errors import TensorMismatchError


def order_in_file(layer: str, names: Collection[str]) -> tuple[str, ...]:
    """The names of a layer's weights in the order of the file that is being loaded.

    Args:
        layer: its name in the model.
        names: canonical ones of its weights.

    Returns:
        The same names; none if no `.h5` file of a model is being loaded.

    Raises:
        TensorMismatchError: the file has a model with this layer, and not these weights.
    """
    if (file := _file_being_loaded()) is None or "model_weights" not in file:
        return ()
    groups = file["model_weights"]
    own = [groups[layer]] if layer in groups else list(groups.values())  # or in a nested model
    found = [
        name for group in own for stored in _stored(group) if (name := _plain(stored)) in names
    ]
    if missing := [name for name in names if name not in found]:
        raise TensorMismatchError(f"{file.filename}, for the layer {layer!r},", missing=missing)
    if len(found) != len(names):
        raise TensorMismatchError(
            f"{file.filename}, which holds the layer {layer!r} twice,", extra=found
        )
    return tuple(found)


def _file_being_loaded() -> Any:
    """The file that a function of Keras up the stack has open; both versions call it so."""
    frame = sys._getframe()
    while frame := frame.f_back:  # type: ignore[assignment]
        if frame.f_code.co_name == "load_model_from_hdf5":
            return frame.f_locals.get("f")
    return None


def _stored(group: Any) -> Iterator[str]:
    """The attribute `weight_names`, which Keras cuts into numbered ones where it is long."""
    keys = ["weight_names"] if "weight_names" in group.attrs else []
    keys += [key for i in range(len(group.attrs)) if (key := f"weight_names{i}") in group.attrs]
    for key in keys:
        for name in group.attrs[key]:
            yield name.decode() if isinstance(name, bytes) else str(name)


def _plain(stored: str) -> str:
    """`keras_layer/MobilenetV2/Conv/weights:0` without what Keras has put around the name."""
    name = stored.partition(":")[0]
    start = name.find("Mobilenet")
    return name[start:] if start > 0 else name
