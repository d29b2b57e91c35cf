"""Keras files: `.h5` of any version, `.weights.h5` and `.keras` of Keras 3.

All of them are HDF5 inside, with the variables as datasets; `.keras` is a zip around it. Where they
lie says what they are: `model_weights/conv1_bn/conv1_bn/gamma:0` in a saved model, without the
first part in saved weights, `layers/batch_normalization/vars/0` with the layer's name as an
attribute in Keras 3. Names are those of keras.applications, or TF-Slim's, as in models that hold a
`hub.KerasLayer` and in this library's own.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.networks import ROOTS
from mobilenet_hub.weights.readers.base import Reading, damaged, file_size, finished, open_file
from mobilenet_hub.weights.readers.dataflow import Constant
from mobilenet_hub.weights.readers.head import without_head
from mobilenet_hub.weights.readers.keras import names as keras_names
from mobilenet_hub.weights.readers.keras.graph import with_surroundings
from mobilenet_hub.weights.readers.keras.hdf5 import Group, open_hdf5
from mobilenet_hub.weights.readers.keras.hdf5_data import Dataset
from mobilenet_hub.weights.readers.tensorflow import slim_names
from mobilenet_hub.weights.readers.zip_files import MAX_FILE_BYTES, open_zip

MAX_MEMBER_BYTES = 256 << 20  # of a zip, unpacked in memory
MAX_TENSOR_BYTES = 128 << 20  # of all that are read together
MAX_NODES, MAX_DEPTH = 20_000, 32
MAX_CONFIG_BYTES = 16 << 20

# `layers/depthwise_conv2d_9/vars/0`, where no name came along, or none of a variable.
_CLASSES = "conv2d|depthwise_conv2d|batch_normalization|dense|keras_layer"
_UNNAMED = re.compile(rf"(?:[^/]+/)*layers/(?:{_CLASSES})(?:_\d+)?/vars/\d+", re.ASCII)
_NOT_THE_MODEL = {"optimizer", "optimizer_weights", "_optimizer"}  # slots repeat the names


def read_keras(path: str | PathLike[str], use_ema: bool | None = None) -> Reading:
    """Read the network of a Keras file.

    Args:
        path: a `.h5`, `.weights.h5` or `.keras` file.
        use_ema: nothing to choose here; the same for all readers.

    Raises:
        MissingWeightsError: there is no such file.
        WeightsError: the file is damaged, points elsewhere, or holds no MobileNet.
    """
    where = str(path)
    with open_file(Path(path), "The Keras file") as file:
        file_size(file, where, MAX_FILE_BYTES)
        if file.read(4) == b"PK\3\4":
            file.seek(0)
            return _read_zip(file, where)
        file.seek(0)
        return _read_h5(file, where, "Keras HDF5 file")


def _read_zip(file: BinaryIO, where: str) -> Reading:
    """A `.keras` file: `config.json` and `model.weights.h5`, read in memory, none on disk."""
    with open_zip(file, where) as archive:
        data = archive.read("model.weights.h5", MAX_MEMBER_BYTES)
        config = archive.read("config.json", MAX_CONFIG_BYTES)
    return _read_h5(io.BytesIO(data), where, "Keras model", config)


def _read_h5(file: BinaryIO, where: str, what: str, config: str | bytes | None = None) -> Reading:
    root = open_hdf5(file, file.seek(0, io.SEEK_END), where)
    parsed = _parsed(root.text("model_config") if config is None else config)
    datasets = dict(_datasets(root, where, _names_by_order(parsed)))
    if datasets and all(_UNNAMED.fullmatch(path) for path in datasets):
        raise WeightsError(
            f"{where} has numbers in place of the names of its layers, as .weights.h5 files of "
            f"Keras 2.15 have, or of the variables of tensorflow_hub's KerasLayer, as its .keras "
            f"files have: save the whole model as .h5 or SavedModel, or from Keras 3. "
            f"Received: {', '.join(list(datasets)[:3])}, ..."
        )
    selected = _select(datasets, where)
    slim, unread = keras_names.as_convolution(_read_selected(datasets, selected, where), where)
    image_size, names = described(parsed)
    parts = {part for path in datasets for part in path.split("/")[:-1]}
    names += tuple(sorted(part for part in parts if "mobilenet" in part.lower()))
    own = _own_classes(parsed) if any("/Logits/" in name for name in slim) else {}
    reading = Reading(
        finished(slim), what, image_size=image_size, names=names, unread=unread, metadata=own
    )
    variables = {path: _constant(dataset) for path, dataset in datasets.items()}
    others = {path: variables[path].shape for path in variables.keys() - set(selected.values())}
    known = with_surroundings(reading, parsed, variables, where)
    return known or without_head(reading, others, where)


def _constant(dataset: Dataset) -> Constant:
    return Constant(dataset.shape, lambda: np.asarray(dataset.read(), np.float32))


def _names_by_order(config: Any) -> dict[tuple[str, ...], str]:
    """What the layers of a `.keras` file of Keras 2.15 are called, by where they lie in it.

    Each lies under the name of its class, numbered in the order of the configuration
    (`_save_container_state` in keras/src/saving/saving_lib.py).
    """
    names: dict[tuple[str, ...], str] = {}
    pending: list[tuple[Any, tuple[str, ...]]] = [(config, ())]
    while pending:
        node, scopes = pending.pop()
        layers = node.get("config", {}) if isinstance(node, dict) else {}
        layers = layers.get("layers") if isinstance(layers, dict) else None
        counts: Counter[str] = Counter()
        for layer in layers if isinstance(layers, list) and len(scopes) <= MAX_DEPTH else ():
            if not isinstance(layer, dict) or not isinstance(layer.get("config"), dict):
                continue
            kind = _snake_case(str(layer.get("class_name", "")))
            place = (*scopes, "layers", f"{kind}_{counts[kind]}" if counts[kind] else kind)
            counts[kind] += 1
            names[place] = str(layer["config"].get("name", ""))
            pending.append((layer, place))
    return names


def _snake_case(name: str) -> str:
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _datasets(
    root: Group, where: str, by_order: dict[tuple[str, ...], str]
) -> Iterator[tuple[str, Dataset]]:
    """All datasets by their path, in which layers have the names that people gave them."""
    model = dict(root.children()).get("model_weights")
    root = model if isinstance(model, Group) else root
    stack: list[tuple[Group, tuple[str, ...], tuple[str, ...]]] = [(root, (), ())]
    nodes = 0
    while stack:
        group, place, scopes = stack.pop()
        members = dict(group.children())
        nodes += len(members)
        if nodes > MAX_NODES or len(scopes) > MAX_DEPTH:
            raise damaged(where, f"at most {MAX_NODES:,} groups, {MAX_DEPTH} deep", "more")
        variables = members.get("vars")  # Keras 3 files a layer under its class, and writes its
        if isinstance(variables, Group):  # name there, from some version on
            name = variables.text("name") or by_order.get(place)
            scopes = (*scopes[:-1], name.replace("/", "_")) if name else scopes
        for key, member in members.items():
            if isinstance(member, Dataset):
                yield "/".join((*scopes, key)), member
            elif scopes or key not in _NOT_THE_MODEL:
                stack.append((member, (*place, key), (*scopes, key)))


def _select(datasets: dict[str, Dataset], where: str) -> dict[str, str]:
    names = [(path, tuple(path.removesuffix(":0").split("/"))) for path in datasets]
    slim: dict[str, str] = {}
    for path, parts in names:
        root = next((i for i, part in enumerate(parts[:-1]) if part in ROOTS.values()), None)
        if root is None or len(parts) - root < 3:
            continue
        name = "/".join(parts[root:])  # before it are layers, models and scopes of anybody's
        if name in slim:
            raise WeightsError(
                f"{where} holds several networks, or one twice: save the one you want alone. "
                f"Received: {slim[name]!r} and {path!r}"
            )
        slim[name] = path
    is_slim = any(name.endswith(("weights", "gamma")) for name in slim)
    if not is_slim:
        return keras_names.select(names, where)
    return {name: slim[key] for name, key in slim_names.select(slim, where).names.items()}


def _read_selected(
    datasets: dict[str, Dataset], selected: dict[str, str], where: str
) -> dict[str, NDArray[np.float32]]:
    total, tensors = 0, {}
    for name, path in selected.items():
        total += datasets[path].nbytes
        if total > MAX_TENSOR_BYTES:
            raise damaged(where, f"at most {MAX_TENSOR_BYTES:,} bytes of weights", f"{total:,}")
        tensors[name] = np.asarray(datasets[path].read(), np.float32)
    return tensors


def _parsed(config: str | bytes | None) -> Any:
    """A model's configuration; None for one that cannot be understood, which tells nothing."""
    try:
        return json.loads(config) if config and len(config) <= MAX_CONFIG_BYTES else None
    except (ValueError, RecursionError):
        return None


def described(config: Any) -> tuple[int | None, tuple[str, ...]]:
    """The image size that a model's configuration tells, and the names of the models in it.

    They serve to tell modules apart whose weights have the same shapes.

    Args:
        config: as parsed from JSON.
    """
    sizes: set[int] = set()
    names: set[str] = set()
    for node in _nodes(config):
        if isinstance(name := node.get("name"), str) and "mobilenet" in name.lower():
            names.add(name)
        shape = node.get("batch_shape", node.get("batch_input_shape"))
        if isinstance(shape, list) and len(shape) == 4:
            height, width = shape[1:3] if shape[3] == 3 else shape[2:]
            if type(height) is int and height == width:
                sizes.add(height)
    return (sizes.pop() if len(sizes) == 1 else None), tuple(sorted(names))


def _own_classes(config: Any) -> dict[str, str]:
    """What layers of this library say of the classes of their logits: `keras.convolution.Logits`.

    Args:
        config: as parsed from JSON.
    """
    for node in _nodes(config):
        said = node.get("classifier")
        if isinstance(said, dict) and "labels" in said:
            return {str(key): str(text) for key, text in said.items()}
    return {}


def _nodes(config: Any) -> Iterator[dict[str, Any]]:
    """All dictionaries in a configuration."""
    pending: list[Any] = [config]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            yield node
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)
