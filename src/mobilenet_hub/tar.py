"""Tar archives, read without trusting them: POSIX.1-2001 ustar and pax, GNU's long names.

A small reader of its own instead of `tarfile`, which allocates what a header asks for and recurses
into what follows it: here every size is checked before anything is read, nothing is extracted, and
memory is bounded by the largest read that the caller asks for.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal, Protocol, cast

from mobilenet_hub.errors import TarError

BLOCK = 512
_MAX_HEADER_BYTES = 1 << 20  # of a long name or a pax header
_MAX_NAME_BYTES = 1 << 15  # no system has longer paths
_MAX_HEADERS = 16  # that describe one member
_PIECE = 1 << 20
_MAX_XZ_MEMORY = 128 << 20  # `xz -9` makes files that take 65 MiB

Kind = Literal["file", "link", "sparse", "other"]
_KINDS: dict[bytes, Kind] = {
    b"0": "file", b"\0": "file", b"7": "file", b"1": "link", b"2": "link", b"S": "sparse",
}  # fmt: skip
_WITHOUT_DATA = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folders: no size counts
_PAX_RECORD = re.compile(rb"(\d{1,7}) ([^=]+)=")


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes, none at the end."""


@dataclass(frozen=True, slots=True)
class Member:
    """What the headers say of one member.

    Attributes:
        name: as written; bytes that are not UTF-8 as `os.fsdecode` gives them.
        kind: `link` for hard and symbolic links, `sparse` for files stored without their holes,
            `other` for folders, devices and pipes.
        size: of its data in the archive, in bytes.
        offset: of its data from the beginning of the archive.
        modified: when, in seconds since 1970; may be any float.
    """

    name: str
    kind: Kind
    size: int
    offset: int
    modified: float


class TarReader:
    """Iterates over the members of an archive; `read` gives the data of the current one.

    Data that is not wanted is stepped over: by seeking where the stream can, else by reading, and
    then what follows the end of the archive is read too, so that a checksum around it is verified.

    Args:
        stream: at the beginning of the archive.

    Attributes:
        offset: of the next byte of the archive.

    Raises:
        TarError: while iterating or reading, if the archive is damaged or ends early.
    """

    def __init__(self, stream: Readable) -> None:
        self.offset = 0
        self._stream = stream
        seekable = getattr(stream, "seekable", None)
        self._seek = cast(BinaryIO, stream).seek if seekable and seekable() else None
        self._left = 0  # bytes of the current member and its padding not read yet

    def __iter__(self) -> Iterator[Member]:
        """The members, links and folders too."""
        described: dict[str, bytes] = {}
        headers = 0
        while (header := self._header()) is not None:
            kind, size = header[156:157], _size(header)
            self._left = _padded(size)
            if kind in (b"L", b"x"):
                headers += 1
                if headers > _MAX_HEADERS:
                    raise TarError(f"at most {_MAX_HEADERS} headers for a member", "more")
                if size > _MAX_HEADER_BYTES:
                    raise TarError(f"headers of at most {_MAX_HEADER_BYTES:,} bytes", f"{size:,}")
                data = self.read(size)
                if kind == b"L":
                    described.setdefault("path", data)
                else:
                    described |= _parse_pax(data)
            elif kind not in (b"g", b"K"):  # of those, nothing is needed
                yield self._member(header, size, described)
                described, headers = {}, 0
            self._skip()

    def read(self, size: int) -> bytes:
        """Exactly so many bytes of the current member's data."""
        if not 0 <= size <= self._left:
            raise ValueError(f"expected at most {self._left} bytes. Received: {size}")
        parts, missing = [], size
        while missing:
            part = self._stream.read(min(missing, _PIECE))
            if not part:
                raise TarError("a whole archive", "its end in the middle of a member")
            parts.append(part)
            missing -= len(part)
        self.offset += size
        self._left -= size
        return b"".join(parts)

    def _member(self, header: bytes, size: int, described: dict[str, bytes]) -> Member:
        kind = header[156:157]
        if "size" in described and kind not in _WITHOUT_DATA:
            if not re.fullmatch(rb"\d{1,18}", described["size"]):
                raise TarError("a size in a pax header", described["size"][:40])
            size = int(described["size"])
        name = _text(described.get("GNU.sparse.name", described.get("path", _name(header))))
        if len(name) > _MAX_NAME_BYTES:
            raise TarError(f"names of at most {_MAX_NAME_BYTES:,} bytes", f"{len(name):,}")
        if kind == b"S":
            self._skip_sparse_map(header)
        sparse = any(key.startswith("GNU.sparse") for key in described)
        self._left = _padded(size)
        return Member(
            name, "sparse" if sparse else _KINDS.get(kind, "other"), size, self.offset,
            _seconds(described.get("mtime"), header[136:148]),
        )  # fmt: skip

    def _skip_sparse_map(self, header: bytes) -> None:
        """Step over the blocks that say where the holes of a GNU sparse file are."""
        more = header[482]
        while more:
            self._left = BLOCK
            more = self.read(BLOCK)[504]

    def _skip(self) -> None:
        if self._seek is not None and self._left > 1:
            self._seek(self._left - 1, 1)  # the last byte is read, to know that it is there
            self.offset += self._left - 1
            self._left = 1
        while self._left > 0:
            self.read(min(self._left, _PIECE))

    def _header(self) -> bytes | None:
        """The next header block; None at the end of the archive."""
        header = b""
        while len(header) < BLOCK:
            part = self._stream.read(BLOCK - len(header))
            if not part:
                raise TarError("a whole archive", "its end where a header or the end mark belongs")
            header += part
        self.offset += BLOCK
        if not any(header):
            while self._seek is None and self._stream.read(_PIECE):
                pass
            return None
        if not _checksum_fits(header):
            raise TarError("a tar header with a right checksum", header[:40])
        return header


_GZIP, _BZIP2, _XZ, _ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"


def is_compressed(head: bytes) -> bool:
    """Whether a file that begins so is one that `decompressed` knows."""
    return head.startswith((_GZIP, _BZIP2, _XZ, _ZSTD))


def decompressed(stream: BinaryIO, head: bytes) -> Readable:
    """What a file holds: gzip, bzip2, xz and Zstandard are unpacked while it is read.

    Args:
        stream: at its beginning.
        head: at least its first 6 bytes.

    Returns:
        `stream` itself if it is not compressed; else something that can only be read on, and
        raises a TarError where it is damaged.
    """
    if head.startswith(_GZIP):
        return _Decompressed(gzip.GzipFile(fileobj=stream, mode="rb"))
    if head.startswith(_BZIP2):
        return _Decompressed(bz2.BZ2File(stream))
    if head.startswith(_XZ):
        return _Decompressed(_Xz(stream))
    if head.startswith(_ZSTD):
        import pyarrow

        return _Decompressed(pyarrow.CompressedInputStream(pyarrow.PythonFile(stream), "zstd"))
    return stream


class _Xz:
    """As `lzma.LZMAFile`, which would take as much memory as a file asks for, up to 4 GiB."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._codec = lzma.LZMADecompressor(lzma.FORMAT_XZ, _MAX_XZ_MEMORY)

    def read(self, size: int, /) -> bytes:
        while True:
            piece = b""
            if self._codec.eof:  # another stream may follow, after padding
                piece = self._codec.unused_data.lstrip(b"\0")
                while not piece:
                    if not (more := self._stream.read(_PIECE)):
                        return b""
                    piece = more.lstrip(b"\0")
                self._codec = lzma.LZMADecompressor(lzma.FORMAT_XZ, _MAX_XZ_MEMORY)
            elif self._codec.needs_input and not (piece := self._stream.read(_PIECE)):
                raise EOFError("its end in the middle of a stream")
            if data := self._codec.decompress(piece, size):
                return data


class _Decompressed:
    def __init__(self, codec: Readable) -> None:
        self._codec = codec

    def read(self, size: int, /) -> bytes:
        try:
            return self._codec.read(size)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            if getattr(error, "errno", None) is not None:  # the stream below failed
                raise
            raise TarError("a whole compressed archive", error) from error


def is_tar(head: bytes) -> bool:
    """Whether a file that begins so is a tar archive."""
    return len(head) >= BLOCK and head[257:262] == b"ustar" and _checksum_fits(head[:BLOCK])


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _checksum_fits(header: bytes) -> bool:
    # The sum of all bytes, those of the checksum itself counted as spaces.
    try:
        stated = _number(header[148:156])
    except TarError:
        return False
    return stated == sum(header) - sum(header[148:156]) + 8 * 0x20


def _number(field: bytes) -> int:
    """Octal digits, or (GNU) two's complement in base 256 where the first bit is set."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
    digits = field.split(b"\0", 1)[0].strip(b" ")
    if not re.fullmatch(rb"[0-7]*", digits):
        raise TarError("an octal number in a tar header", field)
    return int(digits or b"0", 8)


def _size(header: bytes) -> int:
    """Of the data that follow a header."""
    if header[156:157] in _WITHOUT_DATA:
        return 0
    size = _number(header[124:136])
    if not 0 <= size < 1 << 60:
        raise TarError("a size of at least 0 and below 2^60", size)
    return size


def _seconds(pax: bytes | None, field: bytes) -> float:
    try:
        return float(_number(field) if pax is None else pax)
    except (TarError, ValueError):  # not a number
        return 0.0


def _name(header: bytes) -> bytes:
    name, prefix = header[:100].split(b"\0", 1)[0], b""
    if header[257:263] == b"ustar\0":
        prefix = header[345:500].split(b"\0", 1)[0]
    return prefix + b"/" + name if prefix else name


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _parse_pax(data: bytes) -> dict[str, bytes]:
    """Records `length key=value newline` (POSIX.1-2001, pax): those that matter here."""
    records: dict[str, bytes] = {}
    position = 0
    while position < len(data):
        record = _PAX_RECORD.match(data, position)
        end = position + int(record[1]) if record else 0
        if record is None or not record.end() < end <= len(data) or data[end - 1 : end] != b"\n":
            raise TarError("a well-formed pax header", data[position : position + 40])
        if record[2] in (b"path", b"size", b"mtime") or record[2].startswith(b"GNU.sparse."):
            records[record[2].decode("ascii", "replace")] = data[record.end() : end - 1]
        position = end
    return records
