"""Zip archives (`.keras`, `.npz`, a model as a website gives it), opened without trusting them.

Python's `zipfile` makes an object of every entry in the directory at the end, and unpacks as much
of a member as its bytes give, whatever its size is said to be: both are bounded here.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.readers.base import damaged, file_size, open_file, read_exactly

MAX_FILE_BYTES = 4 << 30  # a large model around a MobileNet, with optimizer slots
# Room for 10,000 members with names of 50 bytes. An entry of 46 bytes becomes an object of 800.
MAX_DIRECTORY_BYTES = 1 << 20

MAX_UNPACKED_BYTES = 1 << 30
_MODELS = ("saved_model.pb", "model.json", ".keras", ".h5", ".tflite")  # the first that is there
_OF_A_MODEL = re.compile(
    r"variables/variables\.(index|data-\d{5}-of-\d{5})"
    r"|\w[\w .()-]{0,200}\.(bin|json|h5|keras|tflite|pb|txt)"
)

_END, _END_SIZE, _MAX_COMMENT = b"PK\5\6", 22, 0xFFFF
_ZIP64_LOCATOR, _ZIP64_LOCATOR_SIZE = b"PK\6\7", 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,  # a later version of the format
    RuntimeError,  # encrypted
    EOFError,
    OSError,
    ValueError,
)


class Zip:
    """An opened archive.

    Attributes:
        sizes: name of each member to its size in bytes, as it claims to be.
    """

    def __init__(self, archive: zipfile.ZipFile, where: str) -> None:
        self._archive, self._where = archive, where
        infos = archive.infolist()
        self.sizes = {info.filename: info.file_size for info in infos}
        if len(self.sizes) != len(infos):
            raise damaged(where, "members with names of their own", "one name twice")

    def read(self, name: str, limit: int) -> bytes:
        """A member.

        Raises:
            WeightsError: it is not there, larger than `limit`, damaged, or not of its size.
        """
        if name not in self.sizes:
            raise damaged(self._where, f"{name} in the zip archive", list(self.sizes)[:5])
        info = self._archive.getinfo(name)
        if info.file_size > limit:
            raise damaged(self._where, f"{name} of at most {limit:,} bytes", f"{info.file_size:,}")
        if info.compress_type not in _METHODS:
            raise damaged(self._where, f"{name} stored or deflated", f"method {info.compress_type}")
        with _zip_errors(self._where), self._archive.open(info) as member:
            data = member.read(info.file_size + 1)  # with a size, `zipfile` stops there
        if len(data) != info.file_size:
            raise damaged(self._where, f"{info.file_size:,} bytes of {name}", f"{len(data):,}")
        return data


@contextlib.contextmanager
def open_zip(file: BinaryIO, where: str) -> Iterator[Zip]:
    """Open a zip archive.

    Args:
        file: opened for reading.
        where: the file, for error messages.

    Raises:
        WeightsError: it is none, or its directory is larger than that of any model.
    """
    _check_directory(file, where)
    with contextlib.ExitStack() as stack:
        with _zip_errors(where):
            archive = stack.enter_context(zipfile.ZipFile(file))
        yield Zip(archive, where)


@contextlib.contextmanager
def unpacked_export(path: Path) -> Iterator[Path]:
    """Within, a folder with the model and the labels of a zip archive such as Teachable Machine's.

    Members are found by name and written under names of this file's choosing, in a private folder
    that is called as the archive is; links in it are files, and everything else is passed over.
    What is no archive, or is the model itself (`.keras`, `.npz`), is given as it is.

    Raises:
        MissingWeightsError: there is nothing at that path.
        WeightsError: the archive is damaged, or holds several models or more than any has.
    """
    with contextlib.ExitStack() as stack:
        where = str(path)
        if path.is_file():
            file = stack.enter_context(open_file(path, "The archive"))
            if file.read(4) == b"PK\3\4":
                archive = stack.enter_context(open_zip(file, where))
                if members := _export_members(archive.sizes, where):
                    root = stack.enter_context(tempfile.TemporaryDirectory(prefix="mobilenet-hub-"))
                    path = Path(root) / path.name
                    _unpack(archive, members, path, where)
        yield path


def _export_members(sizes: Iterable[str], where: str) -> dict[str, str]:
    """What to take from an archive, and its place in the folder; nothing if it is no export."""
    names = [name for name in sizes if not name.rpartition("/")[2].startswith("._")]  # of macOS
    itself = "config.json" in names or all(name.endswith(".npy") for name in names)
    kinds = ([name for name in names if name.endswith(kind)] for kind in _MODELS)
    models = next(filter(None, kinds), [])
    if itself or not models:
        return {}
    if len(models) > 1:
        raise WeightsError(
            f"{where} holds several models: unpack it and name the one you want. "
            f"Received: {', '.join(map(repr, models[:5]))}"
        )
    folder = models[0].removesuffix(models[0].rpartition("/")[2])
    beside = {name: name.removeprefix(folder) for name in names if name.startswith(folder)}
    labels = {name: "labels.txt" for name in names if name.rpartition("/")[2] == "labels.txt"}
    taken = {name: place for name, place in beside.items() if _OF_A_MODEL.fullmatch(place)}
    return taken if "labels.txt" in taken.values() else taken | labels


def _unpack(archive: Zip, members: Mapping[str, str], folder: Path, where: str) -> None:
    left = MAX_UNPACKED_BYTES
    try:
        for name, place in members.items():
            data = archive.read(name, left)
            left -= len(data)
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_bytes(data)
    except OSError as error:
        raise WeightsError(f"{where} cannot be unpacked: {error}") from error


def _check_directory(file: BinaryIO, where: str) -> None:
    """Bound the directory before `zipfile` reads it (APPNOTE.TXT 4.3.16, at pkware.com)."""
    size = file_size(file, where, MAX_FILE_BYTES)
    tail_size = min(size, _END_SIZE + _MAX_COMMENT + _ZIP64_LOCATOR_SIZE)
    tail = read_exactly(file, size - tail_size, tail_size, where)
    end = tail.rfind(_END)
    if end < 0 or end + _END_SIZE > len(tail):
        raise damaged(where, "a zip archive with its directory", tail[-_END_SIZE:])
    directory = int.from_bytes(tail[end + 12 : end + 16], "little")
    zip64 = tail[max(0, end - _ZIP64_LOCATOR_SIZE) : end].startswith(_ZIP64_LOCATOR)
    if zip64 or directory > MAX_DIRECTORY_BYTES:
        received = "a zip64 one" if zip64 else f"{directory:,}"
        raise damaged(where, f"a directory of at most {MAX_DIRECTORY_BYTES:,} bytes", received)


@contextlib.contextmanager
def _zip_errors(where: str) -> Iterator[None]:
    try:
        yield
    except _ERRORS as error:
        raise damaged(where, "a zip archive", f"{type(error).__name__}: {error}") from error
