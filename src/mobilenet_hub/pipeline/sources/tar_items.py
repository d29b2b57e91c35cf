"""Tar archives, as WebDataset and others write them: their images are read, never extracted.

A damaged archive yields all that lies before the damage, and then one failure that says where it
is.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mobilenet_hub.errors import TarError
from mobilenet_hub.images import MAX_PIXELS
from mobilenet_hub.images.limits import max_bytes
from mobilenet_hub.pipeline.sources.items import BrokenItem, BytesItem, Item, SliceItem, path_id
from mobilenet_hub.pipeline.sources.open import IMAGE_SUFFIXES, Source, SourceOptions
from mobilenet_hub.tar import Member, Readable, TarReader

_MAX_MEMBER = max_bytes(MAX_PIXELS)
_DAMAGE = (TarError, EOFError, OSError, zlib.error, lzma.LZMAError)


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


def stream_items(stream: Readable, name: str, options: SourceOptions) -> Iterator[Item]:
    """Images of an archive that can only be read from its beginning to its end."""
    reader = TarReader(stream)
    try:
        for member in reader:
            if not _wanted(member, options):
                continue
            identity = _member_id(name, member.name)
            if reason := _unreadable(member):
                yield BrokenItem(identity, identity, "read", reason)
            else:
                yield BytesItem(identity, identity, reader.read(member.size), member.mtime_ns)
    except _DAMAGE as error:
        yield _damage(name, reader.offset, error)


def _slices(path: str, options: SourceOptions) -> Iterator[Item]:
    reader = None
    try:
        with Path(path).open("rb") as file:
            reader = TarReader(file)
            for member in reader:
                if not _wanted(member, options):
                    continue
                identity = _member_id(path, member.name)
                if reason := _unreadable(member):
                    yield BrokenItem(identity, identity, "read", reason)
                else:
                    yield SliceItem(
                        identity, identity, path, member.offset, member.size, member.mtime_ns
                    )
    except _DAMAGE as error:
        yield _damage(path, reader.offset if reader else 0, error)


def _count(path: str, options: SourceOptions) -> int:
    return sum(1 for _ in _slices(path, options))


def _damage(name: str, offset: int, error: Exception) -> Item:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return BrokenItem(path_id(name), name, "list", f"archive, near byte {offset:,}: {reason}")


def _wanted(member: Member, options: SourceOptions) -> bool:
    named = options.all_files or member.name.lower().endswith(IMAGE_SUFFIXES)
    return named and member.kind != "other"


def _unreadable(member: Member) -> str | None:
    """Why the data of a member cannot be had, in words."""
    if member.kind == "link":
        return "a link, which is not followed inside an archive: pack it with --dereference"
    if member.kind == "sparse":
        return "stored without its holes: pack it again without --sparse"
    if member.size > _MAX_MEMBER:
        return f"{member.size:,} bytes, more than the limit of {_MAX_MEMBER:,}"
    return None


def _member_id(archive: str, member: str) -> str:
    return f"{path_id(archive)}/{path_id(member)}"
