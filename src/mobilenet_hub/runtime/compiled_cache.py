"""Compiled graphs on disk: to import one takes a quarter of the time that compiling it takes.

    compiled-1000/<key>.blob        of the user of that number: a header, and what OpenVINO exported

What is read here is input of native code, so it is taken only from a folder that this user alone
can write, and only as it was written: a file that was cut off, changed, or made of anything else is
as good as none. (OpenVINO's own `CACHE_DIR` runs damaged files.) A key is a hash of all that
decides the compiled graph. Those used longest ago leave where there are too many. Losing any costs
time and nothing else, so no trouble with a disk ends a run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenet_hub.files import cache_directory, crc32c, parse_json

KEEP_VARIABLE = "MOBILENET_HUB_KEEP_COMPILED"  # 0: nothing is read or written
LIMIT_BYTES = 512 << 20  # of all: twenty of the largest networks
_MOST_BYTES = 128 << 20  # of one; the largest network's are 25 MB
_MOST_MADE = 1 << 16

# Magic, bytes of `made`, bytes of the graph, CRC-32C of both; then `made` as JSON, then the graph.
_HEADER = struct.Struct("<16sQQI")
_MAGIC = b"mobilenet-hub/1\n"
_NAME = re.compile(r"[0-9a-f]{32}\.blob")
_PART = re.compile(r"[0-9a-f]{32}\.[0-9a-f]{16}\.part")
_HAS_OWNERS = hasattr(os, "geteuid")  # Windows has not, and nothing is kept there
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

Allocate = Callable[[int], Any]  # of so many bytes: something with a writable buffer `data`


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled graph on disk.

    Attributes:
        key: its file's name without the suffix.
        made: what decides it.
        size: of the file, in bytes.
    """

    key: str
    made: Mapping[str, Any]
    size: int


def keeps() -> bool:
    """Whether compiled graphs are kept: where the system says whose a file is, unless told not."""
    return _HAS_OWNERS and os.environ.get(KEEP_VARIABLE) != "0"


def read_compiled(made: str, allocate: Allocate) -> Any | None:
    """A compiled graph, by all that decides it.

    Args:
        made: all that decides it, in JSON.
        allocate: makes the memory that it is read into.

    Returns:
        What `allocate` made, filled; None where there is no such graph, or not one that is sound
        and this user's.
    """
    text, name = made.encode(), _name(made)
    with contextlib.suppress(OSError), _folder() as folder:
        if folder is None or not keeps():
            return None
        with _opened(folder, name) as file:
            size = os.fstat(file.fileno()).st_size
            magic, length, graph_size, checksum = _HEADER.unpack(_exactly(file, _HEADER.size))
            whole = magic == _MAGIC and size == _HEADER.size + length + graph_size
            if not whole or graph_size > _MOST_BYTES or length != len(text):
                return None
            if _exactly(file, length) != text:
                return None
            memory = allocate(graph_size)
            view = memoryview(memory.data)
            if file.readinto(view) != graph_size or crc32c(memoryview(text), view) != checksum:
                return None
            os.utime(file.fileno())  # it was used
            return memory
    return None


def write_compiled(made: str, graph: memoryview) -> None:
    """Keep a compiled graph, in place of one of the same key; others leave to make room.

    Where it cannot be kept (no space, no permission, a folder that others can write to), it is
    not: the next process compiles it again.
    """
    text, name = made.encode(), _name(made)
    if not keeps() or not 0 < graph.nbytes <= _MOST_BYTES or len(text) > _MOST_MADE:
        return
    checksum = crc32c(memoryview(text), graph)
    header = _HEADER.pack(_MAGIC, len(text), graph.nbytes, checksum)
    with contextlib.suppress(OSError), _folder(make=True) as folder:
        if folder is None:
            return
        part = f"{name.removesuffix('.blob')}.{secrets.token_hex(8)}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            with os.fdopen(os.open(part, flags, 0o600, dir_fd=folder), "wb") as file:
                file.writelines((header, text, graph))
            os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            _remove(folder, part)
            raise
        _make_room(folder, LIMIT_BYTES)


def compiled_graphs() -> list[Compiled]:
    """What is kept for this user, that used last first."""
    found = []
    with contextlib.suppress(OSError), _folder() as folder:
        if folder is None:
            return []
        for name, _ in _files(folder, _NAME):
            with contextlib.suppress(OSError, ValueError), _opened(folder, name) as file:
                magic, length, size, _ = _HEADER.unpack(_exactly(file, _HEADER.size))
                if magic == _MAGIC and length <= _MOST_MADE:
                    made = parse_json(_exactly(file, length))
                    whole = _HEADER.size + length + size
                    found.append(Compiled(name.removesuffix(".blob"), made, whole))
    return found


def prune(limit: int = LIMIT_BYTES) -> list[Path]:
    """Remove what killed processes left half written, and what was used longest ago.

    Args:
        limit: greatest size of all that stay, in bytes; 0 removes all.

    Returns:
        The files that were removed.
    """
    removed: list[str] = []
    with contextlib.suppress(OSError), _folder() as folder:
        if folder is not None:
            removed = [name for name, _ in _files(folder, _PART)]
            for name in removed:
                _remove(folder, name)
            removed += _make_room(folder, limit)
    return [_path() / name for name in removed]


def _name(made: str) -> str:
    """What the file of a compiled graph is called."""
    return f"{hashlib.sha256(made.encode()).hexdigest()[:32]}.blob"


def _path() -> Path:
    return cache_directory() / f"compiled-{os.geteuid()}"


@contextlib.contextmanager
def _folder(*, make: bool = False) -> Iterator[int | None]:
    """The folder, open; None where it is not this user's alone.

    That is: a folder and no link to one, this user's, in which nobody else may write.

    Raises:
        OSError: it is not there, or cannot be opened.
    """
    if not _HAS_OWNERS:
        yield None
        return
    path = _path()
    if make:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield folder if _is_mine(os.fstat(folder)) else None
    finally:
        os.close(folder)


@contextlib.contextmanager
def _opened(folder: int, name: str) -> Iterator[Any]:
    """A file of the folder, open for reading.

    Raises:
        OSError: it is not there, not a plain file, or not this user's alone.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe would wait for ever
    with os.fdopen(os.open(name, flags, dir_fd=folder), "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or not _is_mine(status):
            raise PermissionError(f"{name} is not this user's alone")
        yield file


def _is_mine(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_WRITE


def _exactly(file: Any, size: int) -> bytes:
    """So many bytes.

    Raises:
        OSError: the file ends before.
    """
    data: bytes = file.read(size)
    if len(data) != size:
        raise OSError("it was cut off")
    return data


def _files(folder: int, pattern: re.Pattern[str]) -> list[tuple[str, int]]:
    """Names and sizes of the files that are called so, that used last first."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name):
                with contextlib.suppress(FileNotFoundError):  # another process made room
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime_ns, entry.name, status.st_size))
    return [(name, size) for _, name, size in sorted(found, reverse=True)]


def _make_room(folder: int, limit: int) -> list[str]:
    """Remove those used longest ago until the others fit; the names of those removed."""
    removed, total = [], 0
    for name, size in _files(folder, _NAME):
        total += size
        if total > limit:
            _remove(folder, name)
            removed.append(name)
    return removed


def _remove(folder: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        os.unlink(name, dir_fd=folder)
