"""HDF5 as Keras writes it: enough of the format to read float tensors by name, bounded everywhere.

Keras saves through h5py, which writes the oldest form of every structure: superblock 0, object
headers 1, groups as a B-tree of symbol table nodes with names in a local heap, contiguous or
chunked data (HDF5 File Format Specification 3.0, at https://support.hdfgroup.org/documentation/).
These are read here and nothing else. The HDF5 library itself would be another compiled dependency,
and offers no bound on the memory that a file makes it take.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.readers.base import damaged
from mobilenet_hub.weights.readers.keras.hdf5_data import Dataset
from mobilenet_hub.weights.readers.keras.hdf5_objects import (
    LAYOUT,
    LINK,
    LINK_INFO,
    SAVE_AGAIN,
    SYMBOL_TABLE,
    Object,
    RawFile,
    decoded,
    numbers,
    pair,
    read_messages,
    u16,
)

_SOFT_LINK = 2


def open_hdf5(file: BinaryIO, size: int, where: str) -> Group:
    """The root group of a file.

    Args:
        file: unbuffered or in memory.
        size: of the file in bytes.
        where: the file, for error messages.

    Raises:
        WeightsError: not an HDF5 file, or one of another form.
    """
    raw = RawFile(file, size, where)
    root = _open_object(raw, raw.root)
    if not isinstance(root, Group):
        raise damaged(where, "a group at the root", root)
    return root


def _open_object(file: RawFile, address: int) -> Group | Dataset | None:
    """A group or dataset by the messages it has; None for anything else (a named datatype)."""
    messages = read_messages(file, address)
    kinds = {kind for kind, _ in messages}
    if kinds & {LINK, LINK_INFO}:
        raise file.unsupported("the oldest form of the HDF5 format", "a group of a later form")
    if SYMBOL_TABLE in kinds:
        return Group(file, address, messages)
    return Dataset(file, address, messages) if LAYOUT in kinds else None


class Group(Object):
    """A group: names and what they stand for."""

    def children(self) -> Iterator[tuple[str, Group | Dataset]]:
        """Names and objects, in the file's order.

        Raises:
            WeightsError: a damaged group, or a link that is not a hard one.
        """
        tree, heap = pair(self.required(SYMBOL_TABLE), self.file.where)
        names = self._heap(heap)
        for node in self._leaves(tree):
            head = self.file.read(node, 8)
            if head[:4] != b"SNOD":
                raise damaged(self.file.where, "a symbol table node", head[:4])
            count = u16(head, 6)
            entries = self.file.read(node + 8, 40 * count)
            for start in range(0, 40 * count, 40):
                offset, address = numbers(entries[start : start + 16])
                name = self._name(names, offset)
                if int.from_bytes(entries[start + 16 : start + 20], "little") == _SOFT_LINK:
                    raise WeightsError(
                        f"{self.file.where} points to data elsewhere, which is not followed: "
                        f"{SAVE_AGAIN}. Received: a link called {name!r}"
                    )
                found = _open_object(self.file, address)
                if found is not None:
                    yield name, found

    def _leaves(self, address: int, level: int | None = None) -> Iterator[int]:
        """Addresses of the symbol table nodes below a B-tree node of version 1."""
        head = self.file.read(address, 24)
        if head[:5] != b"TREE\0":
            raise damaged(self.file.where, "a B-tree of a group", head[:5])
        if level is not None and head[5] != level:
            raise damaged(self.file.where, f"a B-tree node of level {level}", head[5])
        count = u16(head, 6)
        children = self.file.read_numbers(address + 24, 2 * count)[1::2]
        for child in children:
            if head[5] == 0:
                yield child
            else:  # levels fall, so that this ends
                yield from self._leaves(child, head[5] - 1)

    def _heap(self, address: int) -> bytes:
        head = self.file.read(address, 32)
        if head[:4] != b"HEAP":
            raise damaged(self.file.where, "a local heap", head[:4])
        size, _, data = numbers(head[8:])
        return self.file.read(data, size)

    def _name(self, heap: bytes, offset: int) -> str:
        end = heap.find(b"\0", offset)
        if not 0 <= offset < len(heap) or end < 0:
            raise damaged(self.file.where, "a name in the heap of its group", offset)
        return decoded(heap[offset:end], self.file.where)
