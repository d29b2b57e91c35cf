"""Zip archives (`.keras`, `.npz`), opened without trusting the sizes in them.

Python's `zipfile` makes an object of every entry in the directory at the end, and unpacks as much
of a member as its bytes give, whatever its size is said to be: both are bounded here.
"""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from mobilenet_hub.weights.readers.base import damaged, file_size, read_exactly

MAX_FILE_BYTES = 4 << 30  # a large model around a MobileNet, with optimizer slots
# Room for 10,000 members with names of 50 bytes. An entry of 46 bytes becomes an object of 800.
MAX_DIRECTORY_BYTES = 1 << 20

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
