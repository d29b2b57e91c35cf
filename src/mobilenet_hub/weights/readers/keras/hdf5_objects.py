"""HDF5's lowest level: the file, the messages of an object, and its attributes.

See `hdf5.py` for what is read of the format, and why not by the HDF5 library.
"""

from __future__ import annotations

import math
from typing import Any, BinaryIO

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.readers.base import damaged, read_exactly

SIGNATURE = b"\x89HDF\r\n\x1a\n"

# Message types (IV.A.2 of the specification).
DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL_FILES = 0x01, 0x02, 0x03, 0x06, 0x07
LAYOUT, FILTERS, ATTRIBUTE, CONTINUATION, SYMBOL_TABLE = 0x08, 0x0B, 0x0C, 0x10, 0x11
_KNOWN = {DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL_FILES, LAYOUT, FILTERS, ATTRIBUTE,
          CONTINUATION, SYMBOL_TABLE}  # fmt: skip

MAX_RANK = 8
# A Keras model with a MobileNet in it has some 1,000 objects, 10,000 messages, 1 MB of structure. A
# hostile file can refer to the same bytes again and again: what is read is counted in total.
MAX_STRUCTURE_BYTES = 32 << 20
MAX_MESSAGES = 100_000
MAX_TEXT_BYTES = 16 << 20
SAVE_AGAIN = "save the model again with Keras, to a new file, with layer names in ASCII"


class RawFile:
    """An opened file.

    Args:
        file: unbuffered or in memory.
        size: of the file in bytes.
        where: the file, for error messages.

    Attributes:
        root: address of the root group.

    Raises:
        WeightsError: not an HDF5 file, or one of another form.
    """

    def __init__(self, file: BinaryIO, size: int, where: str) -> None:
        self.where = where
        self._file, self._size = file, size
        self._left, self.messages_left = MAX_STRUCTURE_BYTES, MAX_MESSAGES
        head = self.read(0, 24)
        if head[:8] != SIGNATURE:
            raise damaged(where, "an HDF5 file", head[:8])
        if head[8] > 1:
            raise self.unsupported("the oldest form of the HDF5 format", f"superblock {head[8]}")
        if head[13:15] != b"\x08\x08":
            raise self.unsupported("addresses and lengths of 8 bytes", tuple(head[13:15]))
        start = 24 + 4 * head[8]
        base, _, _, _, _, root = self.read_numbers(start, 6)
        if base != 0:
            raise self.unsupported("an HDF5 file that begins at its first byte", f"base {base}")
        self.root = root

    def read(self, address: int, size: int) -> bytes:
        """Bytes of the file's structure.

        Raises:
            WeightsError: they are not all there, or too many were read already.
        """
        self._left -= size
        if self._left < 0:
            raise damaged(self.where, f"at most {MAX_STRUCTURE_BYTES:,} bytes of structure", "more")
        return self.read_data(address, size)

    def read_data(self, address: int, size: int) -> bytes:
        """Bytes of tensors, which the caller bounds."""
        if address + size > self._size:
            expected = f"{size:,} bytes at {address:,}"
            raise damaged(self.where, expected, f"a file of {self._size:,} bytes")
        return read_exactly(self._file, address, size, self.where)

    def read_numbers(self, address: int, count: int) -> tuple[int, ...]:
        """64-bit numbers."""
        return numbers(self.read(address, 8 * count))

    def unsupported(self, expected: str, received: Any) -> WeightsError:
        """The error for what may be sound HDF5, but is not what Keras writes."""
        return WeightsError(
            f"Cannot read {self.where}: expected {expected}, as Keras writes it; {SAVE_AGAIN}. "
            f"Received: {received}"
        )


class Object:
    """A group or a dataset: the messages of its header."""

    def __init__(self, file: RawFile, address: int, messages: list[tuple[int, bytes]]) -> None:
        self.file, self.address, self.messages = file, address, messages

    def message(self, kind: int) -> bytes | None:
        """The data of the one message of a kind; None if there is none."""
        found = [data for message, data in self.messages if message == kind]
        if len(found) > 1:
            raise damaged(self.file.where, f"one message {kind:#x} in an object", len(found))
        return found[0] if found else None

    def required(self, kind: int) -> bytes:
        """The same, where there must be one."""
        data = self.message(kind)
        if data is None:
            raise damaged(self.file.where, f"a message {kind:#x} in the object", "none")
        return data

    def text(self, name: str) -> str | None:
        """A scalar attribute that is a string; None if there is no such attribute."""
        for kind, data in self.messages:
            if kind == ATTRIBUTE:
                found, value = _attribute(self.file, data, name)
                if found:
                    return value
        return None


def read_messages(file: RawFile, address: int) -> list[tuple[int, bytes]]:
    """The messages of an object header of version 1, continuations followed."""
    head = file.read(address, 16)
    if head[0] != 1:
        raise file.unsupported("object headers of version 1", head[:4])
    blocks = [(address + 16, int.from_bytes(head[8:12], "little"))]
    messages: list[tuple[int, bytes]] = []
    for start, size in blocks:  # grows while it is read
        data, position = file.read(start, size), 0
        while position + 8 <= size:
            kind, length = u16(data, position), u16(data, position + 2)
            body = cut(data, position + 8, length, file.where)
            if data[position + 4] & 2 and kind in (DATATYPE, DATASPACE, LAYOUT, FILTERS):
                raise file.unsupported("messages kept with their object", "a shared message")
            if kind == CONTINUATION:
                blocks.append(pair(body, file.where))
            elif kind in _KNOWN:
                messages.append((kind, body))
            position += 8 + length
            file.messages_left -= 1
            if file.messages_left < 0:
                raise damaged(file.where, f"at most {MAX_MESSAGES:,} messages", "more")
    return messages


def read_shape(data: bytes, where: str) -> tuple[int, ...]:
    """A dataspace of version 1 or 2."""
    if len(data) < 4 or data[0] not in (1, 2) or (data[0] == 2 and data[3] == 2):
        raise damaged(where, "a dataspace with data", data[:4])
    rank, start = data[1], 8 if data[0] == 1 else 4
    if rank > MAX_RANK:
        raise damaged(where, f"at most {MAX_RANK} dimensions", rank)
    shape = numbers(cut(data, start, 8 * rank, where))
    if any(size >= 1 << 31 for size in shape):
        raise damaged(where, "sizes below 2**31", shape)
    return shape


def _attribute(file: RawFile, data: bytes, wanted: str) -> tuple[bool, str | None]:
    """Whether an attribute has that name; its value if it is a scalar string."""
    version = data[0] if data else 0
    if version not in (1, 2, 3):
        raise damaged(file.where, "an attribute of version 1, 2 or 3", version)
    sizes = [u16(data, position) for position in (2, 4, 6)]
    padded = [size + -size % 8 if version == 1 else size for size in sizes]
    starts = [9 if version == 3 else 8]
    for size in padded:
        starts.append(starts[-1] + size)
    name = cut(data, starts[0], sizes[0], file.where).rstrip(b"\0")
    if name != wanted.encode():
        return False, None
    datatype = cut(data, starts[1], sizes[1], file.where).ljust(8, b"\0")
    if math.prod(read_shape(cut(data, starts[2], sizes[2], file.where), file.where)) != 1:
        return True, None
    value = data[starts[3] :]
    kind, size = datatype[0] & 15, int.from_bytes(datatype[4:8], "little")
    if kind == 9 and datatype[1] & 15 == 1:  # a string of any length, kept in the global heap
        length = int.from_bytes(cut(value, 0, 16, file.where)[:4], "little")
        address, index = numbers(value[4:12])[0], int.from_bytes(value[12:16], "little")
        return True, decoded(_global_object(file, address, index)[:length], file.where)
    if kind == 3:
        text = cut(value, 0, size, file.where).split(b"\0")[0]
        return True, decoded(text, file.where)
    return True, None


def _global_object(file: RawFile, address: int, index: int) -> bytes:
    """An object of a global heap collection."""
    head = file.read(address, 16)
    size = int.from_bytes(head[8:16], "little")
    if head[:4] != b"GCOL" or not 16 <= size <= MAX_TEXT_BYTES:
        raise damaged(file.where, "a global heap collection", head)
    data, position = file.read(address + 16, size - 16), 0
    while position + 16 <= len(data):
        length = int.from_bytes(data[position + 8 : position + 16], "little")
        if u16(data, position) == index != 0:
            return cut(data, position + 16, length, file.where)
        if u16(data, position) == 0:  # the free space at the end
            break
        position += 16 + length + -length % 8
    raise damaged(file.where, f"object {index} in its heap", "none")


def numbers(data: bytes) -> tuple[int, ...]:
    """64-bit numbers: everything in HDF5 is little-endian."""
    return tuple(int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8))


def u16(data: bytes, position: int) -> int:
    """A 16-bit number; what is missing at the end counts as 0."""
    return int.from_bytes(data[position : position + 2], "little")


def pair(data: bytes, where: str) -> tuple[int, int]:
    """The two 64-bit numbers at the start: addresses, sizes."""
    first, second = numbers(cut(data, 0, 16, where))
    return first, second


def cut(data: bytes, start: int, size: int, where: str) -> bytes:
    """A part of bytes, which must be there."""
    if start + size > len(data):
        raise damaged(where, f"{size:,} bytes at {start}", f"{len(data) - start:,}")
    return data[start : start + size]


def decoded(data: bytes, where: str) -> str:
    """Bytes as text."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise damaged(where, "names and texts in UTF-8", data[:80]) from error
