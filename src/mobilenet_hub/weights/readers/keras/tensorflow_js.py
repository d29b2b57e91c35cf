"""TensorFlow.js layers models: `model.json`, which says what lies where in one or more `*.bin`.

The manifest lists groups; the files of a group, put end to end, hold its tensors in order, raw and
little-endian (tfjs-core/src/io/types.ts: WeightsManifestConfig). Names are Keras' or TF-Slim's.
"""

from __future__ import annotations

import json
import math
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mobilenet_hub.errors import MissingWeightsError, WeightsError
from mobilenet_hub.weights.readers.base import Array, Reading, damaged, finished, read_file
from mobilenet_hub.weights.readers.dataflow import Constant
from mobilenet_hub.weights.readers.head import without_head
from mobilenet_hub.weights.readers.keras import names as keras_names
from mobilenet_hub.weights.readers.keras.files import described
from mobilenet_hub.weights.readers.keras.graph import with_surroundings
from mobilenet_hub.weights.readers.tensorflow import slim_names

MAX_JSON_BYTES = 4 << 20
MAX_BIN_BYTES = 256 << 20
MAX_FILES, MAX_TENSORS = 1_000, 20_000


def read_tensorflow_js(path: str | PathLike[str], use_ema: bool | None = None) -> Reading:
    """Read the network of a TensorFlow.js layers model.

    Args:
        path: its `model.json`, beside which the `.bin` files lie; or the folder of both.
        use_ema: nothing to choose here; the same for all readers.

    Raises:
        MissingWeightsError: a file is not there.
        WeightsError: the model is damaged, quantised, or holds no MobileNet.
    """
    path = Path(path)
    manifest = path / "model.json" if path.is_dir() else path
    where = str(manifest)
    tensors: dict[str, Array] = {}
    files, total = [manifest], 0
    model = _model(manifest, where)
    for group in model["weightsManifest"]:
        paths = _group_files(manifest.parent, group, where)
        data, position = _group_bytes(paths, where), 0
        files += paths
        total += len(data)
        if total > MAX_BIN_BYTES:
            raise damaged(where, f"at most {MAX_BIN_BYTES:,} bytes of weights", "more")
        for name, shape in _entries(group, where):
            size = 4 * math.prod(shape)
            if size > len(data) - position:
                raise damaged(where, f"{size:,} bytes for {name}", f"{len(data) - position:,}")
            count = math.prod(shape)
            tensors[name] = np.frombuffer(data, "<f4", count, position).reshape(shape)
            position += size
            if len(tensors) > MAX_TENSORS:
                raise damaged(where, f"at most {MAX_TENSORS:,} tensors", "more")
        if position != len(data):
            raise damaged(where, f"{position:,} bytes of weights in a group", f"{len(data):,}")
    topology, metadata = model.get("modelTopology"), manifest.with_name("metadata.json")
    image_size, names = described(topology)
    selected = _select(tensors, where)
    slim, unread = keras_names.as_convolution(
        {name: tensors[key] for name, key in selected.items()}, where
    )
    reading = Reading(
        finished(slim),
        "TensorFlow.js layers model",
        files=(*files, metadata),
        image_size=image_size,
        names=names,
        unread=unread,
        labels=_labels(metadata),
    )
    if isinstance(topology, dict):  # converted models have the configuration one level down
        topology = topology.get("model_config", topology)
    constants = {name: _constant(array) for name, array in tensors.items()}
    others = {name: tensors[name].shape for name in tensors.keys() - set(selected.values())}
    known = with_surroundings(reading, topology, constants, where)
    return known or without_head(reading, others, where)


def _constant(array: Array) -> Constant:
    return Constant(array.shape, lambda: array)


def _labels(path: Path) -> tuple[str, ...]:
    """The names of the classes, which Teachable Machine has in a file beside the model."""
    if not path.exists():
        return ()
    where = str(path)
    try:
        labels = json.loads(read_file(path, "The metadata.json beside it", MAX_JSON_BYTES))[
            "labels"
        ]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(where, "JSON with labels", f"{type(error).__name__}: {error}") from error
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise damaged(where, "a list of labels", labels)
    return tuple(labels)


def _select(tensors: dict[str, Array], where: str) -> dict[str, str]:
    if any("MobilenetV" in name for name in tensors):
        return slim_names.select(tensors, where).names
    return keras_names.select(((name, tuple(name.split("/"))) for name in tensors), where)


def _model(manifest: Path, where: str) -> dict[str, Any]:
    """The model's JSON, its manifest a list of groups."""
    text = read_file(manifest, "The model.json of the TensorFlow.js model", MAX_JSON_BYTES)
    try:
        model = json.loads(text)
        groups = model["weightsManifest"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(
            where, "JSON with a weightsManifest", f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise damaged(where, "a weightsManifest that is a list of groups", type(groups).__name__)
    result: dict[str, Any] = model
    return result


def _group_files(folder: Path, group: dict[str, Any], where: str) -> list[Path]:
    paths = group.get("paths")
    if not isinstance(paths, list) or not 1 <= len(paths) <= MAX_FILES:
        raise damaged(where, f"1 to {MAX_FILES} paths in a group", paths)
    for name in paths:
        # Files beside the manifest, never elsewhere: the JSON may come from anywhere.
        if not isinstance(name, str) or PurePosixPath(name).name != name or name in ("", ".", ".."):
            raise damaged(where, "plain names of files beside it", name)
        if not (folder / name).exists():
            raise MissingWeightsError(
                f"{where} needs a file beside it that is not there. Received: no {name!r}"
            )
    return [folder / name for name in paths]


def _group_bytes(paths: list[Path], where: str) -> bytearray:
    data = bytearray()  # one file at a time is held beside it
    for path in paths:
        data += read_file(path, f"The weights {path.name}", MAX_BIN_BYTES)
        if len(data) > MAX_BIN_BYTES:
            raise damaged(where, f"at most {MAX_BIN_BYTES:,} bytes of weights", "more")
    return data


def _entries(group: dict[str, Any], where: str) -> list[tuple[str, tuple[int, ...]]]:
    entries = group.get("weights")
    if not isinstance(entries, list):
        raise damaged(where, "a list of weights in each group", type(entries).__name__)
    result = []
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(name := entry.get("name"), str):
            raise damaged(where, "a name for each weight", entry)
        if "quantization" in entry or entry.get("dtype") != "float32":
            raise WeightsError(
                f"{where} holds rounded weights, which are not those of the published network: "
                f"convert it without quantisation. "
                f"Received: {entry.get('quantization') or entry.get('dtype')!r} for {name}"
            )
        shape = entry.get("shape")
        if (
            not isinstance(shape, list)
            or not all(type(size) is int and 0 <= size < 1 << 31 for size in shape)
            or len(shape) > 8
        ):
            raise damaged(where, f"the shape of {name}", shape)
        result.append((name, tuple(shape)))
    return result
