"""Files and folders written so that nobody sees half of one; small ones read without trust."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

CACHE_DIR_VARIABLE = "MOBILENET_HUB_CACHE_DIR"
TFHUB_CACHE_DIR_VARIABLE = "TFHUB_CACHE_DIR"

_CHECKED_BYTES = 1 << 18  # at a time: their copy stays in the cache


def cache_directory() -> Path:
    """MOBILENET_HUB_CACHE_DIR; or a folder in TFHUB_CACHE_DIR; or one in the user's cache."""
    if own := os.environ.get(CACHE_DIR_VARIABLE):
        return Path(own).expanduser()
    if shared := os.environ.get(TFHUB_CACHE_DIR_VARIABLE):
        return Path(shared).expanduser() / "mobilenet-hub"
    from platformdirs import user_cache_path

    return user_cache_path("mobilenet-hub", appauthor=False)


@contextlib.contextmanager
def atomic_file(path: str | PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that appears at `path` whole, or not at all.

    It is written beside its place, flushed to disk, then renamed; on any error it is removed and
    whatever was at `path` stays.

    Raises:
        OSError: the folder is missing, not writable, or full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):  # what replaces a file is as private as it was
            temporary.chmod(path.stat().st_mode & 0o777)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename, error.filename2 = str(path), None  # the place, not the name beside it
        raise


@contextlib.contextmanager
def advice_where_full(advice: str) -> Iterator[None]:
    """A full disk, or quota, as an `OSError` that also says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        reason = f"{os.strerror(error.errno)}; {advice}"
        raise OSError(error.errno, reason, error.filename) from error


def write_atomically(path: str | PathLike[str], data: bytes) -> None:
    """Write bytes through `atomic_file`."""
    with atomic_file(path) as file:
        file.write(data)


def crc32c(*parts: memoryview) -> int:
    """CRC-32C (Castagnoli) of bytes that follow each other.

    Several gigabytes a second where they are in memory.
    """
    import google_crc32c

    value = 0
    for part in parts:
        data = part.cast("B") if part.nbytes else b""
        for start in range(0, len(data), _CHECKED_BYTES):
            value = google_crc32c.extend(value, bytes(data[start : start + _CHECKED_BYTES]))
    return int(value)


def read_json(file: BinaryIO, max_bytes: int = 1 << 20) -> Any:
    """What an open file says in JSON; at most so many bytes of it are read.

    Raises:
        ValueError: it is larger, or not JSON.
        OSError: it cannot be read.
    """
    data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"more than {max_bytes:,} bytes")
    return parse_json(data)


def parse_json(text: str | bytes) -> Any:
    """What a text says in JSON.

    Raises:
        ValueError: it is not JSON, or nested deeper than Python goes.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


@contextlib.contextmanager
def atomic_folder(path: str | PathLike[str]) -> Iterator[Path]:
    """A folder that appears at `path` whole, in place of one that was there, or not at all.

    It is filled beside its place, flushed to disk, then exchanged with what is there: on Linux at
    one stroke; elsewhere the old one is moved aside first. On any error whatever was there stays.

    Raises:
        OSError: the folder above is missing, not writable, or full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    temporary.mkdir()
    try:
        yield temporary
        for file in (file for file in temporary.rglob("*") if file.is_file()):
            with file.open("rb") as written:
                os.fsync(written.fileno())
        if not path.exists():
            temporary.rename(path)
        elif not _exchange(temporary, path):
            aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.old")
            path.rename(aside)
            temporary.rename(path)
            aside.rename(temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Whether two folders of one file system have taken each other's name, at one stroke."""
    import ctypes

    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of renameat2(2)
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    if rename is None:
        return False
    return bool(rename(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0)


_LEFTOVER = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.part")


def remove_leftovers(folder: Path, is_ours: Callable[[str], object]) -> None:
    """Remove the beginnings of files and folders that a killed run left.

    Args:
        folder: nothing happens where there is none.
        is_ours: says of a name whether its beginnings may be removed.
    """
    if not folder.is_dir():
        return
    for entry in os.scandir(folder):
        match = _LEFTOVER.fullmatch(entry.name)
        if match and is_ours(match["name"]):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                Path(entry.path).unlink(missing_ok=True)
