"""HDF5's datasets: tensors of floats, in one piece or in chunks, gzipped or not.

See `hdf5.py` for what is read of the format, and why not by the HDF5 library.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.readers.base import damaged
from mobilenet_hub.weights.readers.keras.hdf5_objects import (
    DATASPACE,
    DATATYPE,
    EXTERNAL_FILES,
    FILTERS,
    LAYOUT,
    SAVE_AGAIN,
    Object,
    RawFile,
    cut,
    numbers,
    pair,
    read_shape,
    u16,
)

# Size in bytes to the datatype's properties: precision, then where exponent and mantissa are.
_FLOATS = {2: (16, 10, 5, 0, 10), 4: (32, 23, 8, 0, 23), 8: (64, 52, 11, 0, 52)}
_DEFLATE, _SHUFFLE = 1, 2
_DEFLATE_RATIO = 1032  # zlib's largest expansion
_UNDEFINED = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class _Chunks:
    """How a dataset is cut up.

    Attributes:
        tree: address of the B-tree of its chunks.
        shape: of a chunk.
        filters: what was done to each, in that order.
    """

    tree: int
    shape: tuple[int, ...]
    filters: tuple[int, ...]


class Dataset(Object):
    """A tensor; read when asked for."""

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor.

        Raises:
            WeightsError: a rank above 8, or no data at all.
        """
        return read_shape(self.required(DATASPACE), self.file.where)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Little-endian IEEE floats of 2, 4 or 8 bytes.

        Raises:
            WeightsError: anything else.
        """
        data = self.required(DATATYPE).ljust(8, b"\0")
        size = int.from_bytes(data[4:8], "little")
        numbers = (u16(data, 10), data[12], data[13], data[14], data[15]) if len(data) > 19 else ()
        if data[0] & 15 != 1 or data[1] & 0x41 or _FLOATS.get(size) != numbers:
            raise WeightsError(
                f"{self.file.where}: tensors must be float, of 16, 32 or 64 bits, "
                f"little-endian. Received: HDF5 datatype {data[:20].hex()}"
            )
        return np.dtype(f"<f{size}")

    @property
    def nbytes(self) -> int:
        """Of the tensor as it claims to be."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> NDArray[Any]:
        """The tensor; the caller bounds `nbytes`.

        Raises:
            WeightsError: it is not there, or elsewhere, or not what it claims to be.
        """
        if self.message(EXTERNAL_FILES) is not None:
            raise WeightsError(
                f"{self.file.where} points to data elsewhere, which is not followed: "
                f"{SAVE_AGAIN}. Received: external storage"
            )
        layout = self.required(LAYOUT).ljust(4, b"\0")
        if layout[0] != 3:
            raise self.file.unsupported("a data layout of version 3", f"version {layout[0]}")
        if layout[1] == 0:
            data = cut(layout, 4, u16(layout, 2), self.file.where)
        elif layout[1] == 1:
            address, size = pair(layout[2:], self.file.where)
            if size != self.nbytes or (address == _UNDEFINED and size):
                raise damaged(self.file.where, f"{self.nbytes:,} bytes for {self.shape}", size)
            data = self.file.read_data(address, size) if size else b""
        elif layout[1] == 2:
            return self._read_chunks(self._chunks(layout))
        else:
            raise self.file.unsupported("compact, contiguous or chunked data", layout[1])
        if len(data) != self.nbytes:
            raise damaged(self.file.where, f"{self.nbytes:,} bytes for {self.shape}", len(data))
        return np.frombuffer(data, self.dtype).reshape(self.shape)

    def _chunks(self, layout: bytes) -> _Chunks:
        rank = layout[2] - 1  # the last dimension is the size of an element
        sizes = cut(layout, 11, 4 * (rank + 1), self.file.where) if rank >= 0 else b""
        shape = tuple(int.from_bytes(sizes[i : i + 4], "little") for i in range(0, 4 * rank, 4))
        if rank != len(self.shape) or rank == 0 or not all(shape):
            raise damaged(self.file.where, f"chunks of rank {len(self.shape)}", shape)
        if math.prod(shape) * self.dtype.itemsize > 2 * self.nbytes + (1 << 20):
            raise damaged(self.file.where, f"chunks within {self.shape}", shape)
        tree = int.from_bytes(layout[3:11], "little")
        return _Chunks(tree, shape, _filters(self.message(FILTERS), self.file))

    def _read_chunks(self, chunks: _Chunks) -> NDArray[Any]:
        unwritten = chunks.tree == _UNDEFINED
        entries = {} if unwritten else self._chunk_entries(chunks.tree, len(self.shape))
        counts = (-(-n // c) for n, c in zip(self.shape, chunks.shape, strict=True))
        if len(entries) != (count := math.prod(counts)):  # nothing is allocated before
            raise damaged(self.file.where, f"{count:,} chunks of data", f"{len(entries):,}")
        starts = set(
            product(*(range(0, n, c) for n, c in zip(self.shape, chunks.shape, strict=True)))
        )
        if set(entries) != starts:
            raise damaged(self.file.where, "chunks side by side", "others")
        result = np.empty(self.shape, self.dtype)
        size = math.prod(chunks.shape) * self.dtype.itemsize
        for start, (address, stored) in entries.items():
            data = self.file.read_data(address, stored)
            data = _unfiltered(data, chunks.filters, size, self.dtype.itemsize, self.file.where)
            chunk = np.frombuffer(data, self.dtype).reshape(chunks.shape)
            place = tuple(
                slice(s, min(s + c, n))
                for s, c, n in zip(start, chunks.shape, self.shape, strict=True)
            )
            result[place] = chunk[tuple(slice(0, p.stop - p.start) for p in place)]
        return result

    def _chunk_entries(
        self, address: int, rank: int, level: int | None = None
    ) -> dict[tuple[int, ...], tuple[int, int]]:
        """Where each chunk is: its first element to its address and stored size."""
        head = self.file.read(address, 24)
        if head[:5] != b"TREE\1" or (level is not None and head[5] != level):
            raise damaged(self.file.where, "a B-tree of chunks", head[:6])
        count, step = u16(head, 6), 8 + 8 * (rank + 1) + 8  # sizes and flags, offsets; a child
        data = self.file.read(address + 24, count * step)
        entries: dict[tuple[int, ...], tuple[int, int]] = {}
        for position in range(0, count * step, step):
            *start, child = numbers(data[position + 8 : position + step])
            if head[5]:
                entries |= self._chunk_entries(child, rank, head[5] - 1)
            elif data[position + 4 : position + 8] != bytes(4):
                raise self.file.unsupported("the same filters for all chunks", "others for one")
            else:
                stored = int.from_bytes(data[position : position + 4], "little")
                entries[tuple(start[:rank])] = (child, stored)
        return entries


def _filters(data: bytes | None, file: RawFile) -> tuple[int, ...]:
    """What was done to the bytes of chunks: gzip and byte shuffling are known."""
    if data is None:
        return ()
    if len(data) < 8 or data[0] != 1:
        raise file.unsupported("a filter pipeline of version 1", data[:2])
    filters, position = [], 8
    for _ in range(data[1]):
        head = cut(data, position, 8, file.where)
        number, name_length, parameters = u16(head, 0), u16(head, 2), u16(head, 6)
        if number not in (_DEFLATE, _SHUFFLE) or number in filters:
            raise file.unsupported("data stored plain, gzipped or shuffled", f"filter {number}")
        filters.append(number)
        position += 8 + name_length + -name_length % 8 + 4 * (parameters + parameters % 2)
    return tuple(filters)


def _unfiltered(
    data: bytes, filters: tuple[int, ...], size: int, itemsize: int, where: str
) -> bytes:
    for number in reversed(filters):
        if number == _DEFLATE:
            if size > len(data) * _DEFLATE_RATIO:
                raise damaged(where, f"{size:,} bytes in a chunk", f"{len(data):,}, gzipped")
            decompressor = zlib.decompressobj()
            try:
                data = decompressor.decompress(data, size + 1)
            except zlib.error as error:
                raise damaged(where, "gzipped data", error) from error
        else:
            flat = np.frombuffer(data, np.uint8)
            if flat.size % itemsize:
                raise damaged(where, f"whole elements of {itemsize} bytes", f"{flat.size} bytes")
            data = flat.reshape(itemsize, -1).T.tobytes()
    if len(data) != size:
        raise damaged(where, f"{size:,} bytes in a chunk", f"{len(data):,}")
    return data
