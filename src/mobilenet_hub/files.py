"""Files written so that nobody ever sees half of one, and small ones read without trusting them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO


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


def write_atomically(path: str | PathLike[str], data: bytes) -> None:
    """Write bytes through `atomic_file`."""
    with atomic_file(path) as file:
        file.write(data)


def read_json(path: str | PathLike[str], max_bytes: int = 1 << 20) -> Any:
    """What a file says in JSON; at most so many bytes of it are read.

    Raises:
        ValueError: it is larger, or not JSON.
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as file:
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


_LEFTOVER = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.part")


def remove_leftovers(folder: Path, is_ours: Callable[[str], object]) -> None:
    """Remove the beginnings of files that `atomic_file` left where a run was killed.

    Args:
        folder: nothing happens where there is none.
        is_ours: says of a file's name whether its beginnings may be removed.
    """
    if not folder.is_dir():
        return
    for entry in os.scandir(folder):
        match = _LEFTOVER.fullmatch(entry.name)
        if match and is_ours(match["name"]):
            Path(entry.path).unlink(missing_ok=True)
