"""The table format of LevelDB, in which TensorFlow keeps the index of a checkpoint.

A table is a run of blocks, an index block that says where they are, and a footer that says where
the index is (https://github.com/google/leveldb/blob/main/doc/table_format.md). A block is a run of
sorted keys, each stored as what differs from the one before, with their values; after it come its
compression (0 none, 1 snappy) and a masked CRC32C of all that.
"""

from __future__ import annotations

from collections.abc import Iterator

from mobilenet_hub.weights.readers.base import damaged
from mobilenet_hub.weights.readers.tensorflow.protobuf import read_varint

MAGIC = 0xDB4775248B80FB57
FOOTER_SIZE = 48  # two block handles, padded to 40 bytes, and the magic number
TRAILER_SIZE = 5

# The index of the largest MobileNet with all the slots of two optimizers is 200 kB with names of
# 80 bytes. Shared key prefixes and snappy both let a small table unfold into a large one.
MAX_TABLE_BYTES = 4 << 20
MAX_ENTRIES = 20_000
MAX_KEY_BYTES = 1024


def masked_crc32c(data: bytes) -> int:
    """The CRC32C of `data` as LevelDB and TensorFlow store it: rotated, plus a constant.

    `google_crc32c` takes 1.6 ms for 25 MB; vectorised numpy was measured at 15 ms, plain Python
    takes 10 s.
    """
    import google_crc32c

    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_table(data: bytes, where: str) -> dict[bytes, bytes]:
    """All keys and values of a table, in order.

    Raises:
        WeightsError: for anything but a whole table with right checksums.
    """
    if len(data) > MAX_TABLE_BYTES:
        raise damaged(where, f"a table of at most {MAX_TABLE_BYTES:,} bytes", f"{len(data):,}")
    if len(data) < FOOTER_SIZE or int.from_bytes(data[-8:], "little") != MAGIC:
        raise damaged(where, "a LevelDB table (magic number at its end)", data[-8:])
    footer = data[-FOOTER_SIZE:]
    _, position = _handle(footer, 0, where)  # of the "metaindex": filters, which TensorFlow has not
    index_handle, _ = _handle(footer, position, where)
    entries: dict[bytes, bytes] = {}
    last_key, end = b"", 0
    for _, encoded in _entries(_block(data, index_handle, where), where):
        handle, _ = _handle(encoded, 0, where)
        if handle[0] < end:  # a block listed twice would be unfolded twice
            raise damaged(where, "blocks one after the other", f"offset {handle[0]} before {end}")
        end = handle[0] + handle[1]
        for key, value in _entries(_block(data, handle, where), where):
            if entries and key <= last_key:
                raise damaged(where, "sorted keys without duplicates", key[:80])
            if len(entries) == MAX_ENTRIES:
                raise damaged(where, f"at most {MAX_ENTRIES} entries", "more")
            entries[key] = value
            last_key = key
    return entries


def _handle(data: bytes, position: int, where: str) -> tuple[tuple[int, int], int]:
    """A block handle (offset and size, two varints) and the position after it."""
    offset, position = read_varint(data, position, where)
    size, position = read_varint(data, position, where)
    return (offset, size), position


def _block(table: bytes, handle: tuple[int, int], where: str) -> bytes:
    """The contents of a block, checked and decompressed."""
    offset, size = handle
    end = offset + size
    if end + TRAILER_SIZE > len(table) - FOOTER_SIZE:
        raise damaged(where, "blocks inside the file", f"offset {offset}, size {size}")
    compression = table[end]
    stored = int.from_bytes(table[end + 1 : end + TRAILER_SIZE], "little")
    if masked_crc32c(table[offset : end + 1]) != stored:
        raise damaged(where, f"checksum {stored:#010x} of the block at {offset}", "another")
    if compression == 0:
        return table[offset:end]
    if compression == 1:
        return snappy_decompress(table[offset:end], where)
    raise damaged(where, "a block without compression or with snappy", f"kind {compression}")


def _entries(block: bytes, where: str) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block: length shared with the last key, of the rest, of the value."""
    if len(block) < 4:
        raise damaged(where, "a block with its restart points", f"{len(block)} bytes")
    # The restart points serve binary search; reading everything needs only to know where they are.
    end = len(block) - 4 * (int.from_bytes(block[-4:], "little") + 1)
    if end < 0:
        raise damaged(where, "restart points inside their block", f"a start at {end}")
    position, key = 0, b""
    while position < end:
        shared, position = read_varint(block, position, where)
        unshared, position = read_varint(block, position, where)
        size, position = read_varint(block, position, where)
        if shared > len(key) or unshared + size > end - position:
            raise damaged(
                where, "an entry inside its block", f"lengths {shared}, {unshared}, {size}"
            )
        if shared + unshared > MAX_KEY_BYTES:
            raise damaged(where, f"names of at most {MAX_KEY_BYTES} bytes", shared + unshared)
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + size]
        position += size


def snappy_decompress(data: bytes, where: str) -> bytes:
    """Decompress snappy's block format (google/snappy, format_description.txt).

    The uncompressed length, then elements: literal bytes, or a copy of earlier output.

    Raises:
        WeightsError: for anything malformed, or larger than `MAX_TABLE_BYTES` when unfolded.
    """
    length, position = read_varint(data, 0, where)
    if length > MAX_TABLE_BYTES:
        raise damaged(where, f"snappy data of at most {MAX_TABLE_BYTES:,} bytes", f"{length:,}")
    output = bytearray()
    while position < len(data) and len(output) <= length:
        tag = data[position]
        position += 1
        size, extra = (tag >> 2) + 1, (0, 1, 2, 4)[tag & 3]
        if tag & 3 == 0:  # a literal; lengths above 60 stand in the next 1 to 4 bytes
            extra = max(size - 60, 0)
            if extra:
                size = int.from_bytes(data[position : position + extra], "little") + 1
            position += extra
            if size > len(data) - position:
                raise damaged(where, "a whole snappy literal", f"{size} bytes at {position}")
            output += data[position : position + size]
            position += size
            continue
        offset = int.from_bytes(data[position : position + extra], "little")
        if extra == 1:  # a short copy keeps three bits of its offset in the tag
            size, offset = (tag >> 2 & 7) + 4, offset | tag >> 5 << 8
        position += extra
        if not 0 < offset <= len(output) or position > len(data):
            raise damaged(where, "a snappy copy of what is already there", f"offset {offset}")
        start = len(output) - offset
        piece = output[start : start + size]  # shorter than `size` if the copy overlaps itself
        output += (piece * (size // len(piece) + 1))[:size]
    if len(output) != length:
        raise damaged(where, f"{length} bytes of snappy data", f"{len(output)} or more")
    return bytes(output)
