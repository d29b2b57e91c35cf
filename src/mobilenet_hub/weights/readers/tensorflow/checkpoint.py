"""The network in a TensorFlow checkpoint: TF-Slim's, or Keras' as it saves applications."""

from __future__ import annotations

from os import PathLike

from mobilenet_hub.weights.readers.base import Reading, finished
from mobilenet_hub.weights.readers.head import without_head
from mobilenet_hub.weights.readers.keras import names as keras_names
from mobilenet_hub.weights.readers.tensorflow.slim_names import select
from mobilenet_hub.weights.readers.tensorflow.tensor_bundle import OBJECT_GRAPH, TensorBundle


def read_checkpoint(path: str | PathLike[str], use_ema: bool | None = None) -> Reading:
    """Read the network that a TF-Slim checkpoint holds.

    Args:
        path: the prefix (`mobilenet_v2_1.4_224.ckpt`), or one of the checkpoint's files, or a
            directory that holds one checkpoint.
        use_ema: whether trained variables give way to their exponential moving averages; None:
            for V2, not for V1 (see `slim_names.select`).

    Raises:
        MissingWeightsError: if there is no such file.
        WeightsError: if the checkpoint is damaged, or holds no network, or several.
    """
    return read_bundle(TensorBundle(path), use_ema)


def read_bundle(bundle: TensorBundle, use_ema: bool | None) -> Reading:
    """Read the network that an opened bundle holds, as `read_checkpoint`."""
    variables = bundle.variables()
    if not any("MobilenetV" in name for name, _ in variables) and OBJECT_GRAPH in bundle.entries:
        return _read_keras(bundle, variables)
    selection = select([name for name, _ in variables], bundle.where, use_ema)
    keys = dict(variables)
    tensors = bundle.read({name: keys[stored] for name, stored in selection.names.items()})
    reading = Reading(
        tensors,
        format="TensorFlow checkpoint",
        files=bundle.files,
        moving_averages=selection.moving_averages,
    )
    others = {name: bundle.entries[key].shape for name, key in variables if key in bundle.entries}
    return without_head(reading, others, bundle.where)


def _read_keras(bundle: TensorBundle, variables: list[tuple[str, str]]) -> Reading:
    """A model of keras.applications, by the names of its layers."""
    named: dict[str, str] = {}
    for name, key in variables:
        # Slots of the optimizer repeat the names. Keras 3 writes all variables under `variables/`,
        # and once more under `_all_variables/`.
        if ".OPTIMIZER_SLOT/" not in key and not key.startswith("_all_variables/"):
            named[key] = name.removesuffix(":0")
    paths = ((key, tuple(name.split("/"))) for key, name in named.items())
    selected = keras_names.select(paths, bundle.where)
    tensors = bundle.read(selected)
    converted, unread = keras_names.as_convolution(tensors, bundle.where)
    reading = Reading(
        finished(converted), "TensorFlow checkpoint", files=bundle.files, unread=unread
    )
    others = {
        name: bundle.entries[key].shape
        for key, name in named.items()
        if key not in selected.values() and key in bundle.entries
    }
    return without_head(reading, others, bundle.where)
