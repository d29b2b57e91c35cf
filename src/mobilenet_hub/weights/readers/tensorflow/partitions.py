"""Variables that a partitioner divided: where in a checkpoint's index each part is.

A variable's own entry says which parts there are, as a start and a length in each dimension
(tensorflow/core/framework/tensor_slice.proto). Each part has an entry of its own, whose key is the
name and these numbers in an encoding that sorts as they do (EncodeTensorNameSlice in
tensorflow/core/util/saved_tensor_slice_util.cc, tensorflow/core/lib/strings/ordered_code.cc).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mobilenet_hub.weights.readers.base import damaged
from mobilenet_hub.weights.readers.tensorflow.protobuf import Message


@dataclass(frozen=True, slots=True)
class Part:
    """A rectangular part of a tensor.

    Attributes:
        key: of its entry in the index.
        place: which of the tensor's elements it holds.
        shape: of the part.
    """

    key: bytes
    place: tuple[slice, ...]
    shape: tuple[int, ...]


def parts_of(entry: Message, name: bytes, shape: tuple[int, ...], where: str) -> tuple[Part, ...]:
    """The parts of a tensor; none if it was saved whole.

    Args:
        entry: its `BundleEntryProto`.
        name: its key.
        shape: of the whole tensor.
        where: the file, for error messages.

    Raises:
        WeightsError: the parts do not make up the tensor.
    """
    parts = tuple(_part(message, name, shape, where) for message in entry.messages(7))
    if parts and sum(math.prod(part.shape) for part in parts) != math.prod(shape):
        raise damaged(where, f"parts that make up {shape}", [part.shape for part in parts][:10])
    return parts


def _part(message: Message, name: bytes, shape: tuple[int, ...], where: str) -> Part:
    extents = [
        (extent.signed(1), extent.signed(2) if 2 in extent else -1)
        for extent in message.messages(1)
    ]
    if len(extents) != len(shape):
        raise damaged(where, f"a part of {len(shape)} dimensions", extents[:10])
    key = _unsigned(0) + _text(name) + _unsigned(len(extents))
    place = []
    for (start, length), size in zip(extents, shape, strict=True):
        key += _signed(start) + _signed(length)  # -1: the whole dimension
        stop = size if length == -1 else start + length
        if not 0 <= start <= stop <= size:
            raise damaged(where, f"a part within {shape}", extents[:10])
        place.append(slice(start, stop))
    return Part(key, tuple(place), tuple(s.stop - s.start for s in place))


def _unsigned(number: int) -> bytes:
    """How many bytes the number has, and these bytes."""
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return bytes([len(data)]) + data


def _text(text: bytes) -> bytes:
    """The text with 0 and 255 escaped, and its end marked."""
    escaped = {0: b"\0\xff", 255: b"\xff\0"}
    return b"".join(escaped.get(byte, bytes([byte])) for byte in text) + b"\0\1"


def _signed(number: int) -> bytes:
    """A number of 7 L - 1 bits in L bytes, whose first bits say how many there are."""
    magnitude = ~number if number < 0 else number
    length = magnitude.bit_length() // 7 + 1
    marker = ((1 << length) - 1) << (8 * length - length)  # as many ones as there are bytes
    return ((number % (1 << 8 * length)) ^ marker).to_bytes(length, "big")
