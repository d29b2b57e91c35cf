"""One reader per file format: bytes from anywhere to TF-Slim-named tensors, strictly.

`read` looks at what a file is, not at what it is called, and takes whichever reader knows it.
"""

from __future__ import annotations

import glob
import hashlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilenet_hub.errors import AmbiguousModuleError, MissingWeightsError, WeightsError

if TYPE_CHECKING:
    from mobilenet_hub.catalog import ModuleInfo
    from mobilenet_hub.weights.canonical import Weights
    from mobilenet_hub.weights.readers.base import Reading

# Recorded in every converted file; raised when a reader's result changes.
CONVERTER_VERSION = "1"

FORMATS = (
    "safetensors (of this library, or of transformers' google/mobilenet_v*), Keras .h5, "
    ".weights.h5 and .keras, TensorFlow checkpoints, SavedModels and TF1 hub modules (folders, or "
    "packed as .tgz), frozen graphs .pb, float .tflite, TensorFlow.js model.json, .npz"
)
_HEAD = 1024
_PICKLE_SUFFIXES = {".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin"}
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # by protocol
_HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class _Source:
    """What was read, before it is known what it is the weights of.

    Attributes:
        reading: the tensors.
        files: what was read.
        metadata: that the file itself carried.
        image_size: in pixels, where the file tells it.
        names: in it, that may tell a size as well.
    """

    reading: Reading
    files: tuple[Path, ...]
    metadata: dict[str, str] = field(default_factory=dict)
    image_size: int | None = None
    names: tuple[str, ...] = ()


def read(
    path: str | PathLike[str], *, handle: str | None = None, use_ema: bool | None = None
) -> Weights:
    """Read the weights in a file or folder of any known format.

    Args:
        path: a file, a folder, an archive, or the prefix of a TensorFlow checkpoint.
        handle: the module they are the weights of, where the file does not say.
        use_ema: whether exponential moving averages in a checkpoint are taken in place of the
            trained variables; None: for V2, not for V1. Files that hold only one of the two
            are refused if it is the other.

    Returns:
        The weights. Their metadata says where they come from: `source`, `source_sha256`,
        `converter_version`, `batch_norm` (`folded` or `unfolded`), `notes`; `handle` if it is
        known which module they are of.

    Raises:
        MissingWeightsError: there is nothing at that path.
        WeightsError: a damaged file, a format that is not known, a pickle, no MobileNet.
        TensorMismatchError: lists all tensors that do not fit the network.
        UnknownHandleError: the handle names no module.
    """
    return _identified(Path(path), handle, use_ema)[0]


def read_module(
    path: str | PathLike[str], *, handle: str | None = None, use_ema: bool | None = None
) -> tuple[ModuleInfo, Weights]:
    """Read weights that are to be those of one module, and say of which.

    Args: as `read`.

    Returns:
        The module, and the weights as `read` gives them.

    Raises:
        AmbiguousModuleError: they fit several modules, and nothing says which is meant.
        MissingWeightsError, WeightsError, TensorMismatchError, UnknownHandleError: as `read`.
    """
    weights, possible = _identified(Path(path), handle, use_ema)
    if len(possible) > 1:
        raise AmbiguousModuleError(str(path), [record.handle for record in possible])
    return possible[0], weights


def _identified(
    path: Path, handle: str | None, use_ema: bool | None
) -> tuple[Weights, list[ModuleInfo]]:
    """The weights in a file and the modules they may be of, one unless nothing tells them apart."""
    from mobilenet_hub.weights.canonical import from_tensors
    from mobilenet_hub.weights.identify import possible_modules

    source = _read(path, use_ema)
    reading = source.reading
    averages = reading.moving_averages or source.metadata.get("moving_averages") == "used"
    if use_ema is not None and use_ema != averages:
        which = "exponential moving averages" if use_ema else "variables that are no averages"
        raise WeightsError(
            f"{path} holds no {which}: leave the choice out (--ema, --no-ema). "
            f"Received: use_ema={use_ema}"
        )
    metadata = {
        "source": f"{path.name} ({reading.format})",
        "source_sha256": _digest(source.files),
        "converter_version": CONVERTER_VERSION,
        "batch_norm": reading.batch_norm,
        **({"moving_averages": "used"} if reading.moving_averages else {}),
        **({"notes": " ".join(reading.notes)} if reading.notes else {}),
        **source.metadata,
    }
    weights = from_tensors(reading.tensors, metadata=metadata, where=str(path))
    possible = possible_modules(
        weights, handle=handle, names=(*source.names, *_names(path)), image_size=source.image_size
    )
    if len(possible) == 1:
        weights = weights.with_metadata(handle=possible[0].handle)
    return weights, possible


def _digest(files: Iterable[Path]) -> str:
    """The sha256 of a file; of several, that of a list of their sha256s and names."""
    digests = []
    for path in sorted(path for path in files if path.is_file()):  # never block on a pipe
        with path.open("rb") as file:
            digests.append((hashlib.file_digest(file, "sha256").hexdigest(), path.name))
    if len(digests) == 1:
        return digests[0][0]
    lines = "".join(f"{sha256}  {name}\n" for sha256, name in digests)
    return hashlib.sha256(lines.encode()).hexdigest()


def _names(path: Path) -> list[str]:
    """Whatever may hold the name of a checkpoint: the path's last parts, TF-Hub's descriptor."""
    names = list(path.absolute().parts[-4:])
    descriptor = path.with_name(f"{path.name}.descriptor.txt")  # in TF-Hub's cache
    if descriptor.is_file():
        with descriptor.open("rb") as file:
            names.append(file.read(_HEAD).decode("utf-8", "replace"))
    return names


def _read(path: Path, use_ema: bool | None) -> _Source:
    try:
        if path.is_dir():
            return _read_folder(path, use_ema)
        if not path.exists():
            if path.with_name(f"{path.name}.index").exists():
                return _checkpoint(path, use_ema)
            raise MissingWeightsError(
                f"There is nothing at this path: expected a file or folder with weights. "
                f"Received: {str(path)!r}"
            )
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"Cannot look at {str(path)!r}: {error}") from error
    return _read_file(path, use_ema)


def _read_folder(path: Path, use_ema: bool | None) -> _Source:
    from mobilenet_hub.weights.readers.tensorflow.saved_model import read_saved_model

    if (path / "saved_model.pb").exists():
        reading = read_saved_model(path, use_ema=use_ema)
        parts = [path / "saved_model.pb", path / "tfhub_module.pb"]
        parts += (path / "variables").glob("variables.*")
        return _Source(reading, tuple(part for part in parts if part.exists()))
    names = sorted(file.name for file in path.iterdir())
    for suffixes in (("model.json",), (".index",), (".safetensors",), (".keras", ".h5"), (".pb",),
                     (".tflite",), (".tgz", ".tar.gz", ".tar"), (".npz",)):  # fmt: skip
        matching = [name for name in names if name.endswith(suffixes)]
        if len(matching) > 1:
            raise WeightsError(
                f"{path} holds several files with weights: name the one you want. "
                f"Received: {', '.join(matching[:10])}"
            )
        if matching:
            return _read_file(path / matching[0], use_ema)
    raise WeightsError(
        f"{path} must hold weights: expected {FORMATS}. "
        f"Received: {', '.join(names[:10]) or 'an empty folder'}"
    )


def _checkpoint(path: Path, use_ema: bool | None) -> _Source:
    from mobilenet_hub.weights.readers.tensorflow.tensor_bundle import find_prefix, read_checkpoint

    reading, prefix = read_checkpoint(path, use_ema=use_ema), find_prefix(path)
    shards = prefix.parent.glob(f"{glob.escape(prefix.name)}.data-*")
    return _Source(reading, (Path(f"{prefix}.index"), *shards))


def _read_file(path: Path, use_ema: bool | None) -> _Source:
    from mobilenet_hub.weights.readers.base import open_file

    with open_file(path, "The file with weights") as file:
        head = file.read(_HEAD)
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - 8))
        tail = file.read(8)
    reader = _by_content(path, head, tail)
    if reader is None:
        raise WeightsError(
            f"{path} is of no format this library reads: expected {FORMATS}. "
            f"Received: {head[:16]!r}{'...' if size > 16 else ''}, {size:,} bytes"
        )
    return reader(path, use_ema)


_Reader = Callable[[Path, "bool | None"], _Source]


def _by_content(path: Path, head: bytes, tail: bytes) -> _Reader | None:
    from mobilenet_hub.weights.readers.tensorflow.leveldb import MAGIC

    if head.startswith(_HDF5):
        return _keras
    if head.startswith(b"PK\x03\x04"):
        return _zip
    if head.startswith(b"\x1f\x8b") or head[257:262] == b"ustar":
        return _archive
    if head[4:8] == b"TFL3":
        return _tflite
    if tail == MAGIC.to_bytes(8, "little") or ".data-0" in path.name:
        return _checkpoint
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 30:
        return _safetensors
    if head[:2] in _PICKLES or _old_pickle(path, head):
        return _refuse_pickle
    if head.lstrip()[:1] == b"{":
        return _tensorflow_js
    if path.name == "saved_model.pb":
        return lambda p, use_ema: _read_folder(p.parent, use_ema)
    if head[:1] == b"\x0a":  # a GraphDef begins with its first node
        return _frozen_graph
    return None


def _old_pickle(path: Path, head: bytes) -> bool:
    return path.suffix.lower() in _PICKLE_SUFFIXES and head.startswith(
        (b"(", b"]", b"}", b"c", b"l")
    )


def _refuse_pickle(path: Path, use_ema: bool | None) -> _Source:
    raise WeightsError(
        f"{path} is a pickle, as torch.save writes: opening one runs whatever code is in it, so "
        f"this library never does. Take the .safetensors file that Hugging Face has beside it, or, "
        f"if you trust it, convert it once: safetensors.torch.save_file(torch.load(file, "
        f"weights_only=True), 'model.safetensors'). Received: a pickle"
    )


def _keras(path: Path, use_ema: bool | None) -> _Source:
    from mobilenet_hub.weights.readers.keras.files import read_keras

    reading = read_keras(path)
    return _Source(reading, (path,), {}, reading.image_size, reading.names)


def _archive(path: Path, use_ema: bool | None) -> _Source:
    from mobilenet_hub.weights.readers.archive import read_archive

    return _Source(read_archive(path, use_ema=use_ema), (path,))


def _tflite(path: Path, use_ema: bool | None) -> _Source:
    from mobilenet_hub.weights.readers.tensorflow.tflite import read_tflite

    return _Source(read_tflite(path), (path,))


def _frozen_graph(path: Path, use_ema: bool | None) -> _Source:
    from mobilenet_hub.weights.readers.tensorflow.graph_def import read_frozen_graph

    return _Source(read_frozen_graph(path), (path,))


def _tensorflow_js(path: Path, use_ema: bool | None) -> _Source:
    from mobilenet_hub.weights.readers.keras.tensorflow_js import read_tensorflow_js

    return _Source(read_tensorflow_js(path), (path, *path.parent.glob("*.bin")))


def _safetensors(path: Path, use_ema: bool | None) -> _Source:
    from mobilenet_hub.weights.canonical import MAX_FILE_BYTES
    from mobilenet_hub.weights.readers import hugging_face
    from mobilenet_hub.weights.readers.base import Reading, finished, read_file
    from mobilenet_hub.weights.readers.tensorflow.slim_names import select
    from mobilenet_hub.weights.safetensors_format import own_metadata, parse_safetensors

    where = str(path)
    data = read_file(path, "The safetensors file", MAX_FILE_BYTES)
    tensors, metadata = parse_safetensors(data, where)
    if not any("MobilenetV" in name for name in tensors):
        config = hugging_face.read_config(path)
        size = config.get("image_size")
        reading = hugging_face.read_hugging_face(tensors, where, config)
        return _Source(reading, (path,), {}, size if type(size) is int else None)
    _check_float(tensors, where)
    own = own_metadata(metadata)  # with it, the averages have the variables' names already
    selected = select(tensors, where, None if own else use_ema)
    reading = Reading(
        finished({name: tensors[key] for name, key in selected.names.items()}),
        "safetensors",
        where,
        moving_averages=selected.moving_averages,
    )
    return _Source(reading, (path,), own)


def _zip(path: Path, use_ema: bool | None) -> _Source:
    from mobilenet_hub.weights.readers.base import open_file
    from mobilenet_hub.weights.readers.npz import read_npz
    from mobilenet_hub.weights.readers.zip_files import open_zip

    with open_file(path, "The file with weights") as file, open_zip(file, str(path)) as archive:
        names = list(archive.sizes)
    if any(name.endswith((".pkl", ".pickle")) for name in names):
        return _refuse_pickle(path, use_ema)
    if names and all(name.endswith(".npy") for name in names):
        reading, metadata = read_npz(path)
        return _Source(reading, (path,), metadata)
    return _keras(path, use_ema)


def _check_float(tensors: dict[str, Any], where: str) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype.kind != "f":
            raise WeightsError(f"{where}: tensor {name} must be float. Received: {tensor.dtype}")
