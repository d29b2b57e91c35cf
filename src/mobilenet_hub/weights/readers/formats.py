"""What a file is, told by its content: one table of formats, one of what is refused and why."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from mobilenet_hub.errors import MissingWeightsError, WeightsError

if TYPE_CHECKING:
    from mobilenet_hub.weights.readers.base import Reading

_HEAD = 1024


@dataclass(frozen=True, slots=True)
class Look:
    """What a file looks like, before it is read.

    Attributes:
        path: of the file.
        head, tail: its first kilobyte and its last 8 bytes.
        size: in bytes.
        members: names in it, if it is a zip archive.
    """

    path: Path
    head: bytes
    tail: bytes
    size: int
    members: tuple[str, ...] = ()

    @property
    def is_zip(self) -> bool:
        """Whether it begins as a zip archive does."""
        return self.head.startswith(b"PK\x03\x04")


@dataclass(frozen=True, slots=True)
class Format:
    """A format that can be read.

    Attributes:
        name: for people.
        fits: whether a file looks like one.
        reader: the function that reads it, below this package: (path, use_ema) -> Reading.
    """

    name: str
    fits: Callable[[Look], bool]
    reader: str

    def read(self, path: Path, use_ema: bool | None) -> Reading:
        """Read a file with the reader, which is imported now."""
        module, _, function = self.reader.rpartition(".")
        reading: Reading = getattr(import_module(f"{__package__}.{module}"), function)(
            path, use_ema
        )
        return reading


# LevelDB's magic number, which ends an index: table/format.h.
_LEVELDB = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"

# The first that fits is taken.
FORMATS = (
    Format(
        "safetensors (of this library, or of transformers' google/mobilenet_v*)",
        lambda f: f.head[8:9] == b"{" and int.from_bytes(f.head[:8], "little") < 1 << 30,
        "safetensors.read_safetensors",
    ),
    Format(
        "Keras .h5 and .weights.h5",
        lambda f: f.head.startswith(b"\x89HDF\r\n\x1a\n"),
        "keras.files.read_keras",
    ),
    Format(
        ".npz",
        lambda f: bool(f.members) and all(name.endswith(".npy") for name in f.members),
        "npz.read_npz",
    ),
    Format(".keras", lambda f: f.is_zip, "keras.files.read_keras"),
    Format(
        "TensorFlow checkpoints",
        lambda f: (
            f.tail == _LEVELDB
            or ".data-0" in f.path.name
            or (f.path.name == "checkpoint" and f.head.startswith(b"model_checkpoint_path"))
        ),
        "tensorflow.checkpoint.read_checkpoint",
    ),
    Format(
        "SavedModels and TF1 hub modules (folders",
        lambda f: f.path.name == "saved_model.pb",
        "tensorflow.saved_model.read_saved_model",
    ),
    Format(
        "or packed as .tgz, .tar.bz2)",
        lambda f: (
            f.head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")) or f.head[257:262] == b"ustar"
        ),
        "archive.read_archive",
    ),
    Format("float .tflite", lambda f: f.head[4:8] == b"TFL3", "tensorflow.tflite.read_tflite"),
    Format(
        "TensorFlow.js model.json",
        lambda f: f.head.lstrip()[:1] == b"{",
        "keras.tensorflow_js.read_tensorflow_js",
    ),
    Format(
        "frozen graphs .pb",
        lambda f: f.head[:1] == b"\x0a",  # a GraphDef begins with its first node
        "tensorflow.graph_def.read_frozen_graph",
    ),
)
# Files in a folder that are weights, most wanted kind first.
_IN_FOLDERS = (
    ("model.json",), (".index",), (".safetensors",), (".keras", ".h5"), (".pb",), (".tflite",),
    (".tgz", ".tar.gz", ".tar.bz2", ".tar"), (".npz",),
)  # fmt: skip
_PICKLE_SUFFIXES = {".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin"}
# The first member of PyTorch's zips, its name after 30 bytes: archive/data.pkl, archive/data/0, ...
_TORCH_ZIP = re.compile(
    rb"PK\x03\x04.{26}[^/\0]{1,200}/(data\.pkl|data/|code/|constants|version|byteorder|\.)",
    re.DOTALL,
)


def _is_pickle(look: Look) -> bool:
    """By protocol; of old, by its name and its first opcode; in a zip, as PyTorch's are."""
    old = look.path.suffix.lower() in _PICKLE_SUFFIXES and look.head[:1] in (
        b"(", b"]", b"}", b"c", b"l",
    )  # fmt: skip
    zipped = _TORCH_ZIP.match(look.head) is not None
    zipped |= any(name.endswith((".pkl", ".pickle")) for name in look.members)
    return old or zipped or look.head[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that people have and that is not read.

    Attributes:
        name: for people.
        fits: whether a file looks like one.
        why: why it is not read and what to do, after the file's name.
    """

    name: str
    fits: Callable[[Look], bool]
    why: str


REFUSED = (
    Refused(
        "a pickle",
        _is_pickle,
        "is a pickle, as torch.save and TorchScript write: opening one runs whatever code is in "
        "it, so this library never does. Take the .safetensors file that Hugging Face has beside "
        "it, or, if you trust it, convert it once: safetensors.torch.save_file(torch.load(file, "
        "weights_only=True), 'model.safetensors'); of TorchScript, torch.jit.load(file)."
        "state_dict()",
    ),
    Refused(
        "an ONNX model",
        # Its first field is the version of the format, at least 3; that of a SavedModel is 1.
        lambda f: (
            f.path.suffix.lower() == ".onnx"
            or (f.head[:1] + f.head[2:3] == b"\x08\x12" and f.head[1] > 2)
        ),
        "is an ONNX model, whose operations do not tell the network's weights apart: take the "
        "checkpoint, SavedModel or Keras file that it was made of",
    ),
    Refused(
        "a zip archive",
        lambda f: (
            "config.json" not in f.members
            and any(
                n.endswith(("model.json", "saved_model.pb", ".tflite", "keras_model.h5"))
                for n in f.members
            )
        ),
        "is an archive of an exported model, as Teachable Machine gives them: take it to a folder "
        "with `mobilenet-hub import FILE --output FOLDER`, or unpack it",
    ),
    Refused(
        "the graph of a checkpoint",
        lambda f: f.path.suffix == ".meta",
        "is the graph of a checkpoint and holds no weights: name the checkpoint itself, the path "
        "without .meta, beside which .index and .data-00000-of-00001 lie",
    ),
    Refused(
        "a checkpoint of version 1",
        lambda f: f.tail == _LEVELDB and f.path.suffix != ".index",
        "is a checkpoint in TensorFlow's format of before 2017, a single file without .index. Load "
        "it in TensorFlow and save it again with tf.compat.v1.train.Saver(write_version=2); if it "
        "is an index, give it back the end .index of its name",
    ),
)


def read_any(path: Path, use_ema: bool | None) -> Reading:
    """Read a file or folder with the reader that knows it.

    Args:
        path: a file, a folder, an archive, or the prefix of a TensorFlow checkpoint.
        use_ema: as `readers.read`.

    Raises:
        MissingWeightsError: there is nothing at that path.
        WeightsError: a damaged file, a format that is not known, a pickle, no MobileNet.
    """
    from mobilenet_hub.weights.readers.tensorflow.checkpoint import read_checkpoint

    try:
        if path.is_dir():
            return _read_folder(path, use_ema)
        if not path.exists():
            if path.with_name(f"{path.name}.index").exists():
                return read_checkpoint(path, use_ema)
            raise MissingWeightsError(
                f"There is nothing at this path: expected a file or folder with weights. "
                f"Received: {str(path)!r}"
            )
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"Cannot look at {str(path)!r}: {error}") from error
    return _read_file(path, use_ema)


def _read_folder(path: Path, use_ema: bool | None) -> Reading:
    if (path / "saved_model.pb").exists():
        return _read_file(path / "saved_model.pb", use_ema)
    names = sorted(file.name for file in path.iterdir())
    if "checkpoint" in names and any(name.endswith(".index") for name in names):
        return _read_file(path / "checkpoint", use_ema)
    for suffixes in _IN_FOLDERS:
        matching = [name for name in names if name.endswith(suffixes)]
        if len(matching) > 1:
            raise WeightsError(
                f"{path} holds several files with weights: name the one you want. "
                f"Received: {', '.join(matching[:10])}"
            )
        if matching:
            return _read_file(path / matching[0], use_ema)
    raise WeightsError(
        f"{path} must hold weights: expected {_known()}. "
        f"Received: {', '.join(names[:10]) or 'an empty folder'}"
    )


def _read_file(path: Path, use_ema: bool | None) -> Reading:
    look = _look(path)
    for refused in REFUSED:
        if refused.fits(look):
            raise WeightsError(f"{path} {refused.why}. Received: {refused.name}")
    known = next((known for known in FORMATS if known.fits(look)), None)
    if known is None:
        raise WeightsError(
            f"{path} is of no format this library reads: expected {_known()}. "
            f"Received: {look.size:,} bytes that begin as none of these do"
        )
    return known.read(path, use_ema)


def _known() -> str:
    return ", ".join(known.name for known in FORMATS)


def _look(path: Path) -> Look:
    from mobilenet_hub.weights.readers.base import open_file
    from mobilenet_hub.weights.readers.zip_files import open_zip

    with open_file(path, "The file with weights") as file:
        head = file.read(_HEAD)
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - 8))
        look = Look(path, head, file.read(8), size)
        if not look.is_zip or any(refused.fits(look) for refused in REFUSED):
            return look
        with open_zip(file, str(path)) as archive:
            return Look(path, head, look.tail, size, tuple(archive.sizes))
