"""Keras files: `.h5` of any version, `.weights.h5` and `.keras` of Keras 3.

All of them are HDF5 inside, with the variables as datasets; `.keras` is a zip around it. Where they
lie says what they are: `model_weights/conv1_bn/conv1_bn/gamma:0` in a saved model, without the
first part in saved weights, `layers/batch_normalization/vars/0` with the layer's name as an
attribute in Keras 3. Names are those of keras.applications, or TF-Slim's, as in models that hold a
`hub.KerasLayer` and in this library's own.

HDF5 can point outside its file (external links, external storage, virtual datasets) and can claim
any size: the first are refused, the second is checked against the bytes that are there.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import MissingExtraError, WeightsError
from mobilenet_hub.weights.readers import keras_names, slim_names
from mobilenet_hub.weights.readers.reading import Reading, damaged, file_size, finished, open_file

MAX_FILE_BYTES = 4 << 30  # a large model around a MobileNet, with optimizer slots
MAX_MEMBER_BYTES = 256 << 20  # of a zip, unpacked in memory
MAX_TENSOR_BYTES = 128 << 20  # of all that are read together
MAX_NODES, MAX_DEPTH, MAX_RANK = 20_000, 32, 8
MAX_CONFIG_BYTES = 16 << 20

_DEFLATE, _SHUFFLE, _FLETCHER = 1, 2, 3
_DEFLATE_RATIO = 1032  # zlib's largest expansion


@dataclass(frozen=True, slots=True)
class KerasReading(Reading):
    """A reading that may know the image size, from the model's own name or input.

    Attributes:
        image_size: height and width in pixels; None where the file does not say.
    """

    image_size: int | None = None


def read_keras(path: str | PathLike[str]) -> KerasReading:
    """Read the network of a Keras file.

    Args:
        path: a `.h5`, `.weights.h5` or `.keras` file.

    Raises:
        MissingWeightsError: there is no such file.
        WeightsError: the file is damaged, points elsewhere, or holds no MobileNet.
        MissingExtraError: h5py is not installed.
    """
    where = str(path)
    with open_file(Path(path), "The Keras file") as file:
        file_size(file, where, MAX_FILE_BYTES)
        if file.read(4) == b"PK\3\4":
            file.seek(0)
            return _read_zip(file, where)
        file.seek(0)
        return _read_h5(file, where, "Keras HDF5 file")


def _read_zip(file: BinaryIO, where: str) -> KerasReading:
    """A `.keras` file: `config.json` and `model.weights.h5`, read in memory, none on disk."""
    try:
        with zipfile.ZipFile(file) as archive:
            data = _member(archive, "model.weights.h5", MAX_MEMBER_BYTES, where)
            config = _member(archive, "config.json", MAX_CONFIG_BYTES, where)
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
    ) as e:
        if isinstance(e, WeightsError):
            raise
        raise damaged(where, "a zip archive", f"{type(e).__name__}: {e}") from e
    return _read_h5(io.BytesIO(data), where, "Keras model", _config_size(config))


def _member(archive: zipfile.ZipFile, name: str, limit: int, where: str) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError as error:
        raise damaged(where, f"a Keras model with {name} in it", archive.namelist()[:5]) from error
    # zipfile stops at the size it was told, so that checking this one bounds what is unpacked.
    if info.file_size > limit:
        raise damaged(where, f"{name} of at most {limit:,} bytes", f"{info.file_size:,}")
    import zlib

    try:
        return archive.read(info)
    except zlib.error as error:
        raise damaged(where, f"{name} as it was packed", error) from error


def _read_h5(file: BinaryIO, where: str, what: str, image_size: int | None = None) -> KerasReading:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("keras-files", "Reading Keras files (.h5, .keras)") from error
    try:
        with h5py.File(file, "r") as h5:
            if image_size is None:
                image_size = _config_size(h5.attrs.get("model_config", b""))
            root = h5.get("model_weights", h5)
            datasets = dict(_datasets(root, where))
            selected = _select(datasets, where)
            tensors = _read_selected(datasets, selected, where)
    except WeightsError:
        raise
    # What HDF5 and h5py raise over a damaged file depends on where the damage is.
    except (
        OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError,
        NotImplementedError, OverflowError, MemoryError, SystemError, AssertionError,
    ) as error:  # fmt: skip
        raise damaged(where, "a sound HDF5 file", f"{type(error).__name__}: {error}") from error
    slim, notes = keras_names.with_1001_classes(tensors, where)
    return KerasReading(finished(slim), what, where, notes=notes, image_size=image_size)


def _datasets(root: Any, where: str) -> Iterator[tuple[str, Any]]:
    """All datasets below a group by their path, layers by the names that people gave them."""
    import h5py

    stack: list[tuple[Any, tuple[str, ...]]] = [(root, ())]
    nodes = 0
    while stack:
        group, scopes = stack.pop()
        for key in group:
            nodes += 1
            if nodes > MAX_NODES or len(scopes) > MAX_DEPTH:
                raise damaged(where, f"at most {MAX_NODES:,} groups, {MAX_DEPTH} deep", "more")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise WeightsError(
                    f"{where} points to data elsewhere, which is not followed: save the model "
                    f"again. Received: a link at {'/'.join((*scopes, key))!r}"
                )
            node = group[key]
            if isinstance(node, h5py.Dataset):
                yield "/".join((*scopes, key)), node
            elif isinstance(node, h5py.Group):
                stack.append((node, (*scopes, _scope_name(key, node))))


def _scope_name(key: str, group: Any) -> str:
    """Keras 3 files a layer under its class and writes its name into `vars`."""
    name = group.attrs.get("name") if key == "vars" else None
    return name if isinstance(name, str) and name else key


def _select(datasets: dict[str, Any], where: str) -> dict[str, str]:
    if any("MobilenetV1/" in path or "MobilenetV2/" in path for path in datasets):
        return slim_names.select(datasets, where).names
    paths = ((path, tuple(path.removesuffix(":0").split("/"))) for path in datasets)
    return keras_names.select(paths, where)


def _read_selected(
    datasets: dict[str, Any], selected: dict[str, str], where: str
) -> dict[str, NDArray[np.float32]]:
    total, tensors = 0, {}
    for name, path in selected.items():
        dataset = datasets[path]
        _check_storage(dataset, path, where)
        total += 4 * math.prod(dataset.shape)
        if total > MAX_TENSOR_BYTES:
            raise damaged(where, f"at most {MAX_TENSOR_BYTES:,} bytes of weights", f"{total:,}")
        tensors[name] = np.asarray(dataset[()], np.float32)
    return tensors


def _check_storage(dataset: Any, path: str, where: str) -> None:
    """Refuse what is not there, is elsewhere, or is not float, before anything is allocated."""
    shape, dtype = dataset.shape, dataset.dtype
    if shape is None or len(shape) > MAX_RANK or dtype.kind != "f" or dtype.itemsize > 8:
        raise WeightsError(
            f"{where}: {path} must be a float tensor. Received: {dtype} of shape {shape}"
        )
    if dataset.external or dataset.is_virtual:
        raise WeightsError(
            f"{where} points to data elsewhere, which is not followed: save the model again. "
            f"Received: external storage for {path!r}"
        )
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(index)[0] for index in range(plist.get_nfilters())]
    if unknown := set(filters) - {_DEFLATE, _SHUFFLE, _FLETCHER}:
        raise WeightsError(
            f"{where}: {path} must be stored plain or gzip-compressed. "
            f"Received: HDF5 filters {sorted(unknown)}"
        )
    claimed = math.prod(shape) * dtype.itemsize
    stored = dataset.id.get_storage_size()
    if claimed > stored * (_DEFLATE_RATIO if _DEFLATE in filters else 1):
        raise damaged(where, f"{claimed:,} bytes for {path} {shape}", f"{stored:,}")


def _config_size(config: str | bytes) -> int | None:
    """The image size that a model's configuration tells, wherever the network is in it.

    It serves to tell modules apart whose weights have the same shapes; a configuration that cannot
    be understood tells nothing.
    """
    try:
        loaded = json.loads(config) if config and len(config) <= MAX_CONFIG_BYTES else None
    except (ValueError, RecursionError):
        return None
    sizes: set[int] = set()
    pending: list[Any] = [loaded]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if isinstance(name := node.get("name"), str) and (size := keras_names.named_size(name)):
                return size
            shape = node.get("batch_shape", node.get("batch_input_shape"))
            if isinstance(shape, list) and len(shape) == 4 and shape[3] == 3:
                height, width = shape[1:3]
                if type(height) is int and height == width:
                    sizes.add(height)
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)
    return sizes.pop() if len(sizes) == 1 else None
