"""`.npz` files of TF-Slim-named arrays.

Metadata, if any, is a JSON object as the text `__metadata__`.

Headers are read here, not by `numpy.load`, which allocates what a header asks for.
"""

from __future__ import annotations

import io
import json
import math
import tokenize
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.readers.base import Reading, damaged, finished, open_file
from mobilenet_hub.weights.readers.head import without_head
from mobilenet_hub.weights.readers.tensorflow.slim_names import select
from mobilenet_hub.weights.readers.zip_files import open_zip
from mobilenet_hub.weights.safetensors_format import printable

MAX_TENSOR_BYTES = 128 << 20
METADATA = "__metadata__"

# NumPy parses the header as Python: these are what is wrong with it.
_HEADER_ERRORS = (ValueError, TypeError, KeyError, SyntaxError, tokenize.TokenError,
                  RecursionError, MemoryError)  # fmt: skip


def read_npz(path: str | PathLike[str], use_ema: bool | None = None) -> Reading:
    """Read the network of a `.npz` file, and its metadata if it has any.

    Args:
        path: the file.
        use_ema: as `tensorflow.checkpoint.read_checkpoint`.

    Raises:
        WeightsError: the file is damaged, too large, or holds no MobileNet.
    """
    where = str(path)
    with open_file(Path(path), "The .npz file") as file, open_zip(file, where) as archive:
        if (total := sum(archive.sizes.values())) > MAX_TENSOR_BYTES:
            raise damaged(where, f"at most {MAX_TENSOR_BYTES:,} bytes of arrays", f"{total:,}")
        arrays = {
            name.removesuffix(".npy"): _array(archive.read(name, size), where)
            for name, size in archive.sizes.items()
        }
    metadata = _metadata(arrays.pop(METADATA, None))
    if unknown := [name for name, array in arrays.items() if array.dtype.kind != "f"]:
        raise WeightsError(f"{where}: expected float arrays. Received: {unknown[:10]}")
    selected = select(arrays, where, None if metadata else use_ema)
    reading = Reading(
        finished({name: arrays[key] for name, key in selected.names.items()}),
        ".npz file",
        moving_averages=selected.moving_averages,
        metadata=metadata,
    )
    return without_head(reading, {name: array.shape for name, array in arrays.items()}, where)


def _array(data: bytes, where: str) -> NDArray[np.generic]:
    stream = io.BytesIO(data)
    headers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        shape, fortran, dtype = headers[npy.read_magic(stream)](stream)
    except _HEADER_ERRORS as error:
        received = f"{type(error).__name__}: {error}"
        raise damaged(where, "an .npy array of version 1 or 2", received) from error
    if any(length < 0 for length in shape):
        raise damaged(where, "a shape", shape)
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or dtype.kind not in "fU" or size != len(data) - stream.tell():
        raise damaged(where, f"{size:,} bytes of {dtype} {shape}", f"{len(data) - stream.tell():,}")
    if size == 0:
        return np.empty(shape, dtype)
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C")


def _metadata(text: NDArray[np.generic] | None) -> dict[str, str]:
    if text is None or text.dtype.kind != "U" or text.size != 1:
        return {}
    try:
        value = json.loads(str(text.item()))
    except (ValueError, RecursionError):
        return {}
    return {str(k): printable(v) for k, v in value.items()} if isinstance(value, dict) else {}
