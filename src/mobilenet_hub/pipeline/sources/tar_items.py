"""Tar archives, as WebDataset and others write them: their images are read, never extracted.

A small reader of its own (POSIX.1-2001 ustar and pax, GNU long names) instead of `tarfile`, because
archives may be hostile: every size is checked before anything is read, and a damaged archive
yields all that lies before the damage, and then one failure that says where it is.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from mobilenet_hub.images import MAX_PIXELS
from mobilenet_hub.images.limits import max_bytes
from mobilenet_hub.pipeline.sources.items import BrokenItem, BytesItem, Item, SliceItem, path_id
from mobilenet_hub.pipeline.sources.open import IMAGE_SUFFIXES, Source, SourceOptions

_BLOCK = 512
_MAX_NAME = 1 << 16
_MAX_PAX = 1 << 20
_REGULAR = (b"0", b"\0", b"7")
_MAX_MEMBER = max_bytes(MAX_PIXELS)
_DAMAGE = (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _DamageError(ValueError):
    """The archive cannot be read on."""


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    size: int
    mtime_ns: int
    regular: bool


def is_tar(head: bytes) -> bool:
    """Whether a file that begins so is a tar archive."""
    return len(head) >= _BLOCK and head[257:262] == b"ustar" and _checksum_fits(head[:_BLOCK])


def open_archive(path: str, options: SourceOptions) -> Source:
    """The images of a local tar archive. Those of a plain one can be read in any order."""
    if path.lower().endswith(".tar"):
        return Source(lambda: _slices(path, options), lambda: _count(path, options))

    def items() -> Iterator[Item]:
        with _decompressed(path) as stream:
            yield from stream_items(stream, path, options)

    return Source(items, lambda: None)


def _decompressed(path: str) -> IO[bytes] | Any:
    name = path.lower()
    if name.endswith((".gz", ".tgz")):
        return gzip.open(path, "rb")
    if name.endswith(".bz2"):
        return bz2.open(path, "rb")
    if name.endswith(".xz"):
        return lzma.open(path, "rb")
    import pyarrow

    return pyarrow.CompressedInputStream(pyarrow.OSFile(path), "zstd")


def stream_items(stream: _Stream, name: str, options: SourceOptions) -> Iterator[Item]:
    """Images of an archive that can only be read from its beginning to its end."""
    reader = _Reader(stream)
    try:
        for member in reader:
            if not _wanted(member, options):
                continue
            identity = _member_id(name, member.name)
            if member.size > _MAX_MEMBER:
                reason = f"{member.size:,} bytes, more than the limit of {_MAX_MEMBER:,}"
                yield BrokenItem(identity, identity, "read", reason)
                continue
            data = reader.take(member.size)
            yield BytesItem(identity, identity, data, member.mtime_ns)
    except _DAMAGE as error:
        yield _damage(name, reader.offset, error)


def _slices(path: str, options: SourceOptions) -> Iterator[Item]:
    reader = None
    try:
        with Path(path).open("rb") as file:
            length = file.seek(0, 2)
            file.seek(0)
            reader = _Reader(file)
            for member in reader:
                if member.size > length - reader.offset:
                    reason = f"truncated: {member.size:,} bytes announced, the archive ends before"
                    if _wanted(member, options):
                        identity = _member_id(path, member.name)
                        yield BrokenItem(identity, identity, "read", reason)
                    raise _DamageError(reason)
                if _wanted(member, options):
                    identity = _member_id(path, member.name)
                    yield SliceItem(
                        identity, identity, path, reader.offset, member.size, member.mtime_ns
                    )
    except _DAMAGE as error:
        yield _damage(path, reader.offset if reader else 0, error)


def _count(path: str, options: SourceOptions) -> int:
    return sum(1 for _ in _slices(path, options))


def _damage(name: str, offset: int, error: Exception) -> Item:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return BrokenItem(path_id(name), name, "list", f"archive, near byte {offset:,}: {reason}")


def _wanted(member: _Member, options: SourceOptions) -> bool:
    return member.regular and (options.all_files or member.name.lower().endswith(IMAGE_SUFFIXES))


def _member_id(archive: str, member: str) -> str:
    return f"{path_id(archive)}/{path_id(member)}"


class _Reader:
    """Iterates over the members of a stream; `take` reads the data of the current one.

    Attributes:
        offset: of the next byte of the stream.
    """

    def __init__(self, stream: _Stream) -> None:
        self.offset = 0
        self._stream = stream
        self._seek = getattr(stream, "seek", None) if _seekable(stream) else None
        self._left = 0  # bytes of the current member and its padding not read yet

    def take(self, size: int) -> bytes:
        """Exactly so many bytes.

        Raises:
            _DamageError: the archive ends before.
        """
        parts, missing = [], size
        while missing:
            part = self._stream.read(min(missing, 1 << 20))
            if not part:
                raise _DamageError("it ends in the middle of a member")
            parts.append(part)
            missing -= len(part)
        self.offset += size
        self._left -= size
        return b"".join(parts)

    def __iter__(self) -> Iterator[_Member]:
        long_name: str | None = None
        pax: dict[str, str] = {}
        while (header := self._header()) is not None:
            kind = header[156:157]
            size = _number(header[124:136])
            if kind in (b"L", b"x", b"g", b"K"):
                limit = _MAX_PAX if kind in b"xg" else _MAX_NAME
                if size > limit:
                    raise _DamageError(f"a header of {size:,} bytes")
                self._left = _padded(size)
                content = self.take(size)
                if kind == b"L":
                    long_name = _text(content)
                elif kind == b"x":
                    pax = _parse_pax(content)
            else:
                size = int(pax.get("size", size))
                if size < 0:
                    raise _DamageError("a negative size")
                name = pax.get("path") or long_name or _name(header)
                seconds = float(pax.get("mtime", _number(header[136:148])))
                self._left = _padded(size)
                yield _Member(name, size, int(seconds * 1e9), kind in _REGULAR)
                long_name, pax = None, {}
            self._skip()

    def _skip(self) -> None:
        if self._seek is not None:
            self._seek(self._left, 1)
            self.offset += self._left
            self._left = 0
        while self._left > 0:
            self.take(min(self._left, 1 << 20))

    def _header(self) -> bytes | None:
        """The next header block; None at the end of the archive."""
        header = self._stream.read(_BLOCK)
        if not header or header == bytes(_BLOCK):
            return None
        while len(header) < _BLOCK:
            part = self._stream.read(_BLOCK - len(header))
            if not part:
                raise _DamageError("it ends in the middle of a header")
            header += part
        if header == bytes(_BLOCK):
            return None
        if not _checksum_fits(header):
            raise _DamageError("a header with a wrong checksum")
        self.offset += _BLOCK
        return header


def _seekable(stream: _Stream) -> bool:
    return isinstance(getattr(stream, "name", None), str) and bool(stream.seekable())  # type: ignore[attr-defined]


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _checksum_fits(header: bytes) -> bool:
    # The sum of all bytes, those of the checksum itself counted as spaces.
    try:
        stated = _number(header[148:156])
    except _DamageError:
        return False
    return stated == sum(header) - sum(header[148:156]) + 8 * 0x20


def _number(field: bytes) -> int:
    """Octal digits, or (GNU) base 256 where the first bit is set."""
    if field[:1] >= b"\x80":
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.split(b"\0", 1)[0].strip()
    try:
        return int(digits or b"0", 8)
    except ValueError as error:
        raise _DamageError(f"a header with {field!r} for a number") from error


def _name(header: bytes) -> str:
    name = _text(header[:100])
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _parse_pax(content: bytes) -> dict[str, str]:
    """Records `length key=value newline` (POSIX.1-2001, pax)."""
    records: dict[str, str] = {}
    offset = 0
    while offset < len(content):
        digits, space, _ = content[offset : offset + 20].partition(b" ")
        if not space or not digits.isdigit() or int(digits) < 5:
            raise _DamageError("a damaged pax header")
        record = content[offset : offset + int(digits)]
        key, equals, value = record[len(digits) + 1 :].partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise _DamageError("a damaged pax header")
        records[key.decode("utf-8", "replace")] = value[:-1].decode("utf-8", "surrogateescape")
        offset += int(digits)
    return records
