"""The safetensors format, read without copying: arrays are views of the file's bytes.

Eight bytes with the length of a JSON header; the header, which names tensors with dtype, shape and
place; their bytes, side by side (https://huggingface.co/docs/safetensors). The library of that name
copies every tensor out of the file: the 24.7 MB of V2 1.4 take it 6.1 ms and another 24.9 MB, and
this file 1.9 ms and 0.2 MB (the best of 20, safetensors 0.8.0). It is used to write.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import WeightsError

MAX_HEADER_BYTES = 1 << 20
MAX_RANK = 8
_METADATA = "__metadata__"
_DTYPES = {
    "BOOL": "?", "U8": "<u1", "I8": "<i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2",
}  # fmt: skip


def parse_safetensors(data: bytes, where: str) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Args:
        data: the whole file.
        where: the file, for error messages.

    Returns:
        Read-only views of `data` by name, in the order they lie in, bfloat16 as float32; the
        metadata.

    Raises:
        WeightsError: for bytes that are not a well-formed safetensors file of NumPy's dtypes.
    """
    length = int.from_bytes(data[:8], "little") if len(data) >= 8 else -1
    if not 2 <= length <= min(MAX_HEADER_BYTES, len(data) - 8):
        raise _refusal(where, f"a header of {length} bytes in a file of {len(data)}")
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise _refusal(where, error) from error
    if not isinstance(header, dict):
        raise _refusal(where, f"a header that is a {type(header).__name__}")
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(type(text) is str for text in metadata.values()):
        raise _refusal(where, "metadata that is not text")
    places = sorted((_place(name, entry, where), name) for name, entry in header.items())
    tensors: dict[str, NDArray[Any]] = {}
    position = 8 + length
    for (start, stop), name in places:
        if 8 + length + start != position or (position := 8 + length + stop) > len(data):
            raise _refusal(where, f"{name[:200]!r} at {start} to {stop}, not after the one before")
        shape, dtype = tuple(header[name]["shape"]), np.dtype(_DTYPES[header[name]["dtype"]])
        if stop - start != math.prod(shape) * dtype.itemsize:
            raise _refusal(where, f"{stop - start} bytes for {name[:200]!r}, {dtype} {shape}")
        flat = np.frombuffer(data, dtype, math.prod(shape), 8 + length + start)
        flat = widened(flat) if header[name]["dtype"] == "BF16" else flat
        tensors[name] = flat.reshape(shape)
    if position != len(data):
        raise _refusal(where, f"{len(data) - position} bytes after the last tensor")
    return tensors, metadata


def widened(halves: NDArray[np.uint16]) -> NDArray[np.float32]:
    """bfloat16, which NumPy does not have, as float32: it is the upper half of one."""
    return (halves.astype(np.uint32) << 16).view(np.float32)


def own_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """The provenance in a safetensors file's metadata; empty if this library did not write it."""
    try:
        own = json.loads(metadata.get("mobilenet_hub", "{}"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(own, dict):
        return {}
    return {str(key): printable(value) for key, value in own.items() if key != "format"}


def printable(value: object) -> str:
    """What a file says of itself, as text that commands a terminal to nothing."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))


def _place(name: str, entry: Any, where: str) -> tuple[int, int]:
    """Where a tensor starts and stops, its entry checked as far as it can be alone."""
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(stop)]}:
            pass
        case _:
            raise _refusal(where, f"no dtype, shape and data_offsets of {name[:200]!r}")
    if dtype not in _DTYPES:
        raise _refusal(where, f"dtype {dtype[:20]!r} of {name[:200]!r}")
    if len(shape) > MAX_RANK or not all(type(n) is int and 0 <= n < 1 << 40 for n in shape):
        raise _refusal(where, f"a shape of {name[:200]!r} that is none")
    if not 0 <= start <= stop:
        raise _refusal(where, f"{name[:200]!r} at {start} to {stop}")
    return start, stop


def _refusal(where: str, received: object) -> WeightsError:
    return WeightsError(
        f"{where}: expected a safetensors file of numpy tensors. Received: {received}"
    )
