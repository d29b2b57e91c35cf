"""Items: what a source yields and everything after it carries along.

An item has an id that stays with it to the last row written, knows where its bytes are, and reads
them when asked. Items are small and pickle, so that a million of them can wait in line and any of
them can be read by another process.
"""

from __future__ import annotations

import mmap
import os
import re
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, Protocol

from mobilenet_hub.errors import ItemError, Stage
from mobilenet_hub.images import worth_reading

_SMALL = 4 << 20  # bytes that are read without a look at the first of them
_HEAD = 1 << 20  # holds the size of nearly every picture
_LATEST = 1 << 63  # nanoseconds after 1970


class Stamp(NamedTuple):
    """What tells, without reading it, whether an item is still what it was.

    Attributes:
        size: in bytes.
        mtime_ns: time of modification in nanoseconds since 1970; 0 where the source has none that
            fits into 64 bits (1678 to 2262), and negative, a checksum, where the bytes were at
            hand.
    """

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Of a file."""
        known = abs(status.st_mtime_ns) < _LATEST
        return cls(status.st_size, status.st_mtime_ns if known else 0)


def nanoseconds(seconds: float) -> int:
    """A time in seconds since 1970, whatever somebody wrote there, as a stamp keeps it."""
    return int(seconds * 1e9) if abs(seconds) < _LATEST / 1e9 else 0


class Item(Protocol):
    """One image to come."""

    @property
    def id(self) -> str:
        """Names the item in every output; valid UTF-8, unique within a source."""

    @property
    def path(self) -> str:
        """Where its bytes are, in words for people."""

    def stamp(self) -> Stamp | None:
        """Its stamp as far as it can be had without reading the item."""

    def read(self, max_bytes: int) -> tuple[bytes, Stamp]:
        """Its bytes, and their stamp.

        Raises:
            ItemError, OSError: they cannot be had, or are more than `max_bytes`.
        """


@dataclass(frozen=True, slots=True)
class FileItem:
    """A local file.

    Attributes:
        path: may hold bytes that are not UTF-8, as `os.fsdecode` gives them.
        name: an id of its own, as a list gave it; None where the path is its id.
    """

    path: str
    name: str | None = None

    @property
    def id(self) -> str:
        """Its own name, or the path, escaped where it must be."""
        return path_id(self.path) if self.name is None else self.name

    def stamp(self) -> Stamp | None:
        """Of the file as it is now."""
        try:
            return Stamp.of(os.stat(self.path))  # noqa: PTH116 - a Path per item costs more than stat
        except (OSError, ValueError):
            return None  # reading it will say why

    def read(self, max_bytes: int) -> tuple[bytes, Stamp]:
        """The whole file; its stamp is taken from the open file."""
        with _open_regular(self.path) as file:
            status = os.fstat(file.fileno())
            # One byte more than it should have: a file that grows meanwhile must not fill memory.
            size = status.st_size + 1 if status.st_size else None
            return read_image(file.read, size, max_bytes), Stamp.of(status)


@dataclass(frozen=True, slots=True)
class SliceItem:
    """Consecutive bytes of a local file: a member of a plain tar archive."""

    id: str
    path: str
    archive: str
    offset: int
    size: int
    mtime_ns: int

    def stamp(self) -> Stamp:
        """As the archive says."""
        return Stamp(self.size, self.mtime_ns)

    def read(self, max_bytes: int) -> tuple[bytes, Stamp]:
        """The bytes.

        Raises:
            ItemError: the archive ends before they do.
        """
        with _open_regular(self.archive) as file:
            if file.seek(0, os.SEEK_END) < self.offset + self.size:
                raise ItemError("read", f"truncated: the archive ends before its {self.size} bytes")
            file.seek(self.offset)
            return read_image(file.read, self.size, max_bytes), self.stamp()


@dataclass(frozen=True, slots=True)
class BytesItem:
    """Bytes in hand: from a stream, a table or the caller."""

    id: str
    path: str
    data: bytes
    mtime_ns: int = 0

    def stamp(self) -> Stamp:
        """Size, and the time of modification; where the source knows none, a checksum instead.

        (Negative, so that it is no time.)
        """
        import google_crc32c

        return Stamp(len(self.data), self.mtime_ns or -1 - google_crc32c.value(self.data))

    def read(self, max_bytes: int) -> tuple[bytes, Stamp]:
        """The bytes."""
        refuse_size(len(self.data), max_bytes)
        return self.data, self.stamp()


@dataclass(frozen=True, slots=True)
class BrokenItem:
    """Something a source came upon and could not yield: it fails when it is read."""

    id: str
    path: str
    stage: Stage
    reason: str

    def stamp(self) -> None:
        """None: it is tried again on every run."""

    def read(self, max_bytes: int) -> tuple[bytes, Stamp]:
        """Raises what was wrong."""
        raise ItemError(self.stage, self.reason)


def read_image(
    read: Callable[[int], bytes],
    size: int | None,
    max_bytes: int,
    turn: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> bytes:
    """What is worth reading of a file that should be an image.

    Args:
        read: gives the next so many bytes, fewer only at the end.
        size: how many there may be at most; None if nobody knows.
        max_bytes: how many may be read.
        turn: is entered while the greater part of a large one is read.

    Raises:
        ItemError: more than `max_bytes`, or than a picture of the size that it states can have.
    """
    refuse_size(size or 0, max_bytes)
    if size is not None and size <= _SMALL:
        return read(size)
    head = read(_HEAD)
    limit = worth_reading(head, max_bytes)
    if limit == len(head):
        return head
    refuse_size(size or 0, limit)
    with turn():
        if size is not None:
            return head + read(size - len(head))
        # Pages of their own go back to the system at once; a thread's heap would keep them.
        with mmap.mmap(-1, limit + _HEAD) as data:
            data.write(head)
            while piece := read(_HEAD):
                refuse_size(data.tell() + len(piece), limit)
                data.write(piece)
            return data[: data.tell()]


def refuse_size(size: int, max_bytes: int) -> None:
    """Refuse more bytes than any allowed image can have.

    Raises:
        ItemError: too many.
    """
    if size > max_bytes:
        raise ItemError("read", f"{size:,} bytes, more than the limit of {max_bytes:,}")


def reason(error: Exception) -> str:
    """What went wrong, in words, without the path that is named beside it."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


_READS_AS_ESCAPE = re.compile(r"\\(?=x[0-9a-f]{2})")
_PLAIN = re.compile(r"[ -\[\]-~]*")  # ASCII without control characters and backslash


def path_id(path: str) -> str:
    r"""A path as an id: valid UTF-8, on one line, different for different paths.

    An ordinary path is its own id (with `/` as separator). Bytes that are not UTF-8, and control
    characters, are written `\xff`; so that this can be undone, a backslash that would read as such
    an escape is written `\x5c`.
    """
    if os.sep != "/":
        path = path.replace(os.sep, "/")
    if _PLAIN.fullmatch(path):
        return path
    return "".join(map(_escaped, _READS_AS_ESCAPE.sub(r"\\x5c", path)))


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as `os.fsdecode` gives it
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    if 0xD800 <= code <= 0xDFFF:  # half a pair, which Windows allows in names
        return "".join(f"\\x{b:02x}" for b in character.encode("utf-8", "surrogatepass"))
    return character


# Opening a FIFO would wait for a writer for ever, unless opened so; regular files ignore the flag.
_OPEN_FLAGS = (
    os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)  # fmt: skip


def _open_regular(path: str) -> BinaryIO:
    try:
        descriptor = os.open(path, _OPEN_FLAGS)
    except ValueError as error:  # a NUL in the name
        raise ItemError("read", str(error)) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ItemError("read", "not a regular file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
