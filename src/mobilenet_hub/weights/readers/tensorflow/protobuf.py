"""The protobuf wire format: enough of it to read TensorFlow's files, and bounded everywhere.

A message is a sequence of fields, each a varint `number << 3 | wire type` and a value: 0 a varint,
1 eight bytes, 2 a varint length and that many bytes (a string, a nested message, packed numbers),
5 four bytes (https://protobuf.dev/programming-guides/encoding/). What the numbers mean is written
where they are used, next to the name of the `.proto` file that defines them.
"""

from __future__ import annotations

from collections.abc import Iterator

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.readers.base import damaged

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

# A field of two bytes becomes objects of a hundred: without a bound a file would grow fiftyfold.
# The graph of a MobileNet has some 600 nodes with 20 fields and attributes each.
MAX_FIELDS = 1 << 15  # of one message
MAX_ALL_FIELDS = 1 << 19  # of a message and everything in it


def read_varint(data: bytes | memoryview, position: int, where: str) -> tuple[int, int]:
    """An unsigned 64-bit varint (seven bits a byte, lowest first) and the position after it."""
    value = shift = 0
    while shift < 70:
        if position >= len(data):
            raise damaged(where, "a whole varint", f"the end at byte {position}")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, position
        shift += 7
    raise damaged(where, "a varint of at most 64 bits", f"a longer one before byte {position}")


class Budget:
    """How much may be read of something that says itself how much there is."""

    __slots__ = ("left", "where")

    def __init__(self, amount: int, where: str) -> None:
        self.left = amount
        self.where = where

    def spend(self, amount: int) -> None:
        """Take from what is left.

        Raises:
            WeightsError: if that is not enough.
        """
        self.left -= amount
        if self.left < 0:
            raise damaged(self.where, "about as many parts as a MobileNet has", "far more")


class Message:
    """One message, split into its fields; nested ones are split when asked for.

    Every accessor takes the field's number and checks that the field is of its kind. A field that
    is absent has protobuf's default: 0, empty.

    Args:
        data: the encoded message.
        where: what it is part of, for error messages.
        budget: how many more fields may be read, in all messages that share it.

    Raises:
        WeightsError: for bytes that are not a well-formed message.
    """

    __slots__ = ("_budget", "_fields", "where")

    def __init__(self, data: bytes | memoryview, where: str, budget: Budget | None = None) -> None:
        self.where = where
        self._budget = budget or Budget(MAX_ALL_FIELDS, where)
        self._fields: dict[int, list[tuple[int, int | memoryview]]] = {}
        view, position = memoryview(data), 0
        for _ in range(MAX_FIELDS):
            if position == len(view):
                return
            self._budget.spend(1)
            key, position = read_varint(view, position, where)
            number, wire_type = key >> 3, key & 7
            value: int | memoryview
            if wire_type == VARINT:
                value, position = read_varint(view, position, where)
            elif wire_type in (FIXED32, FIXED64):
                size = 4 if wire_type == FIXED32 else 8
                value = int.from_bytes(_take(view, position, size, where), "little")
                position += size
            elif wire_type == BYTES:
                size, position = read_varint(view, position, where)
                value = _take(view, position, size, where)
                position += size
            else:
                raise damaged(where, "protobuf wire types 0, 1, 2 and 5", wire_type)
            if number == 0:
                raise damaged(where, "protobuf field numbers above 0", number)
            self._fields.setdefault(number, []).append((wire_type, value))
        raise damaged(where, f"at most {MAX_FIELDS} protobuf fields", "more")

    def __contains__(self, number: int) -> bool:
        return number in self._fields

    def integer(self, number: int, default: int = 0) -> int:
        """An unsigned number, enum or bool (of a repeated one, the last: protobuf's rule)."""
        return self._all(number, VARINT)[-1] if number in self._fields else default

    def signed(self, number: int, default: int = 0) -> int:
        """An int32 or int64: negative values are their 64-bit two's complement."""
        return _to_signed(self.integer(number, default))

    def fixed32(self, number: int, default: int = 0) -> int:
        """The four bytes of a fixed32 or float, as an unsigned number."""
        return self._all(number, FIXED32)[-1] if number in self._fields else default

    def integers(self, number: int) -> list[int]:
        """A repeated signed number, packed or not."""
        values: list[int] = []
        for wire_type, value in self._fields.get(number, ()):
            if isinstance(value, memoryview):
                position = 0
                while position < len(value):
                    self._budget.spend(1)
                    item, position = read_varint(value, position, self.where)
                    values.append(_to_signed(item))
            elif wire_type == VARINT:
                values.append(_to_signed(value))
            else:
                raise damaged(self.where, f"integers in field {number}", f"wire type {wire_type}")
        return values

    def floats(self, number: int) -> bytes:
        """A repeated float, packed or not, as little-endian bytes."""
        values = bytearray()
        for wire_type, value in self._fields.get(number, ()):
            if isinstance(value, memoryview) and len(value) % 4 == 0:
                values += value
            elif wire_type == FIXED32 and isinstance(value, int):
                values += value.to_bytes(4, "little")
            else:
                raise self._wrong(number, "floats")
        return bytes(values)

    def data(self, number: int) -> memoryview:
        """Bytes, without copying them."""
        views = self._views(number)
        return views[-1] if views else memoryview(b"")

    def text(self, number: int) -> str:
        """A string."""
        return self._decode(self.data(number))

    def texts(self, number: int) -> list[str]:
        """A repeated string."""
        return [self._decode(view) for view in self._views(number)]

    def message(self, number: int) -> Message:
        """A nested message (empty when absent)."""
        return Message(self.data(number), self.where, self._budget)

    def messages(self, number: int) -> Iterator[Message]:
        """A repeated nested message, each split as it is reached."""
        for view in self._views(number):
            yield Message(view, self.where, self._budget)

    def _views(self, number: int) -> list[memoryview]:
        fields = self._fields.get(number, ())
        views = [value for _, value in fields if isinstance(value, memoryview)]
        if len(views) != len(fields):
            raise self._wrong(number, "bytes")
        return views

    def _all(self, number: int, wire_type: int) -> list[int]:
        fields = self._fields[number]
        values = [value for kind, value in fields if kind == wire_type and isinstance(value, int)]
        if len(values) != len(fields):
            raise self._wrong(number, "a number")
        return values

    def _wrong(self, number: int, expected: str) -> WeightsError:
        kinds = sorted({kind for kind, _ in self._fields[number]})
        return damaged(self.where, f"{expected} in protobuf field {number}", f"wire types {kinds}")

    def _decode(self, view: memoryview) -> str:
        try:
            return str(view, "utf-8")
        except UnicodeDecodeError as error:
            raise damaged(self.where, "UTF-8 text", bytes(view[:80])) from error


def _take(view: memoryview, position: int, size: int, where: str) -> memoryview:
    if size > len(view) - position:
        raise damaged(where, f"{size:,} bytes at byte {position}", f"{len(view) - position:,}")
    return view[position : position + size]


def _to_signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
