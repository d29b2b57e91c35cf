"""Files that hold or name many images: which reader takes which, by its name or first bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

from mobilenet_hub.images import MAX_PIXELS, formats
from mobilenet_hub.images.limits import max_bytes
from mobilenet_hub.pipeline.sources import lists, tables, tar_items
from mobilenet_hub.pipeline.sources.items import BytesItem, Item
from mobilenet_hub.pipeline.sources.source import (
    ARCHIVE_SUFFIXES,
    CSV_SUFFIXES,
    LIST_SUFFIXES,
    TABLE_SUFFIXES,
    File,
    PassedOver,
    Source,
    SourceOptions,
)
from mobilenet_hub.tar import BLOCK, is_compressed, is_tar

_MAX_BYTES = max_bytes(MAX_PIXELS)
_SIGNATURE = 12  # bytes that tell an image

Reader = Callable[[File, SourceOptions], Source]

READERS: tuple[tuple[tuple[str, ...], Reader], ...] = (
    (LIST_SUFFIXES, lists.open_list),
    (CSV_SUFFIXES, lists.open_csv),
    (TABLE_SUFFIXES, tables.open_table),
    (ARCHIVE_SUFFIXES, tar_items.open_archive),
)


def reader_for(name: str) -> Reader | None:
    """The reader of a file of that name; None for what is taken for a single image."""
    lower = name.lower()
    return next((reader for suffixes, reader in READERS if lower.endswith(suffixes)), None)


def open_stream(stream: io.BufferedReader, name: str, options: SourceOptions) -> Source:
    """A stream that can be read once; what it is, its first bytes tell.

    Args:
        stream: of paths, of a tar archive, compressed or not, or of one image.
        name: in words.
        options: how to read it.
    """
    head = _head(stream)
    file = File(name, lambda: io.BufferedReader(_Rewound(head, stream)))
    if is_tar(head) or is_compressed(head):
        return tar_items.open_archive(file, options)
    if formats.recognise(head[:_SIGNATURE]) is None:
        return lists.open_list(file, options)

    def items(_: PassedOver) -> Iterator[Item]:
        with file.open() as whole:
            yield BytesItem(name, f"<{name}>", whole.read(_MAX_BYTES + 1))

    return Source(items, lambda: 1, distinct=True)


def _head(stream: io.BufferedReader) -> bytes:
    """The first bytes of a stream: a tar header, or a line, which is soon there in a list."""
    head = more = stream.read1(BLOCK)
    while more and len(head) < BLOCK and b"\n" not in head[_SIGNATURE:]:
        more = stream.read1(BLOCK - len(head))
        head += more
    return head


class _Rewound(io.RawIOBase):
    """A stream, from its beginning again though some of it was read."""

    def __init__(self, head: bytes, stream: io.BufferedReader) -> None:
        self._head = head
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._head[: len(buffer)] or self._stream.read1(len(buffer))
        self._head = self._head[len(data) :]
        buffer[: len(data)] = data
        return len(data)
