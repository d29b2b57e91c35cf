"""Which pixels of a picture become which pixels of the result: crops, scales, bilinear sampling.

Nothing here knows file formats. A picture is uint8 [height, width, 3], upright. The way through:
`layout` says which box of the picture fills which box of the result; `least_scale_num` and
`reduction` how far the picture may be shrunk beforehand; `sample` interpolates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.settings import Crop

CENTRAL_FRACTION = 0.875  # TF-Slim `inception_preprocessing.preprocess_for_eval`
_TO_UNIT = np.float32(1 / 255)  # `tf.image.convert_image_dtype` multiplies, it does not divide


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of whole pixels."""

    top: int
    left: int
    height: int
    width: int


@lru_cache(maxsize=1024)
def layout(
    size: tuple[int, int], target: tuple[int, int], crop: Crop, scale_num: int = 8
) -> tuple[Box, Box]:
    """Which box of a picture decoded at n/8 is used, and which box of the result it fills.

    Args:
        size: height and width of the picture at full size, upright.
        target: height and width of the result.
        crop: `cover`: the largest central rectangle of the target's shape; `center`: the same times
            0.875; `slim`: the central 0.875 of height and of width; `none`, `pad`: the whole
            picture. All but `pad` fill the whole result; `pad` keeps the picture's shape and
            centres it.
        scale_num: n, 1 to 8; the decoded picture has ceil(height n / 8) by ceil(width n / 8).
    """
    (height, width), (rows, columns) = size, target
    filled = Box(0, 0, rows, columns)
    top = left = 0.0
    if crop == "slim":
        top, left = _slim_margin(height), _slim_margin(width)
    elif crop in ("center", "cover"):
        fraction = CENTRAL_FRACTION if crop == "center" else 1
        unit = fraction * min(height / rows, width / columns)
        top, left = (height - rows * unit) / 2, (width - columns * unit) / 2
    elif crop == "pad":
        zoom = min(rows / height, columns / width)
        inner_height, inner_width = max(1, round(height * zoom)), max(1, round(width * zoom))
        margins = (rows - inner_height) // 2, (columns - inner_width) // 2
        filled = Box(*margins, inner_height, inner_width)
    used_top, used_height = _whole_pixels(top, height, scale_num)
    used_left, used_width = _whole_pixels(left, width, scale_num)
    return Box(used_top, used_left, used_height, used_width), filled


def _slim_margin(length: int) -> int:
    """What `tf.image.central_crop(image, 0.875)` cuts off each end: its arithmetic, in float64."""
    return int((length - length * CENTRAL_FRACTION) / 2)


def _whole_pixels(margin: float, length: int, scale_num: int) -> tuple[int, int]:
    """Start and length, in the picture decoded at n/8, of what lies between two equal margins.

    Each edge moves to the nearest pixel; one pixel at least remains. Edges between pixels would
    blur a picture that needs no resizing (half a pixel off cost 3 % top-1 on 398 photos).
    """
    if margin == 0:
        return 0, -(-length * scale_num // 8)
    start = round(margin * scale_num / 8)
    stop = round((length - margin) * scale_num / 8)
    if stop <= start:
        start = (length - 1) * scale_num // 16
        stop = start + 1
    return start, stop - start


@lru_cache(maxsize=1024)
def least_scale_num(size: tuple[int, int], target: tuple[int, int], crop: Crop) -> int:
    """The least n in 1..8 such that a picture decoded at n/8 still has all the pixels needed.

    That is: the box used of it is nowhere smaller than the box it fills (for a picture that is
    too small at full size: 8).
    """
    for scale_num in range(1, 8):
        used, filled = layout(size, target, crop, scale_num)
        if used.height >= filled.height and used.width >= filled.width:
            return scale_num
    return 8


def reduction(used: Box, filled: Box) -> tuple[int, int]:
    """Integer factors (down, across) by which a box may be averaged and still have all it needs.

    1 where the box is less than twice what it fills: there bilinear sampling skips no pixel.
    """
    return max(1, used.height // filled.height), max(1, used.width // filled.width)


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a picture that is interpolated.

    Attributes:
        box: the pixels that may be read; beyond its edges the edge pixel repeats.
        height, width: extent in pixels, from the box's top left corner. Less than the box's after
            a reduction whose factor does not divide the original (its last cells are partial).
    """

    box: Box
    height: float
    width: float


def sample(picture: NDArray[np.uint8], window: Window, result: NDArray[Any], *, tf1: bool) -> None:
    """Bilinear interpolation of a window, two taps an axis: no antialias at any scale.

    Args:
        picture: uint8 [rows, columns, 3], C-contiguous.
        window: of the picture.
        result: [height, width, 3], written to: uint8 in [0, 255], rounded; for `tf1` float32 in
            [0, 1].
        tf1: False: half-pixel centres, as PIL, OpenCV and `tf.image.resize` of TF2 place them.
            True: TF1's `resize_bilinear(align_corners=False)`: output pixel i lies at input
            coordinate i * scale; pixels are brought to [0,1] first. The order of its float32
            operations is that of TensorFlow's CPU kernel, so that the result is the same.
    """
    height, width = result.shape[:2]
    box = window.box
    low, high, across = _column_taps(box.left, box.width, window.width, width, tf1)
    lines = picture.reshape(picture.shape[0], -1)
    for band in _bands(box.top, box.height, window.height, height, width, tf1):
        # Across first, and only in the rows that are used. A take of bytes by a prepared index is
        # the fastest gather NumPy has for this; every line here releases the GIL.
        used = lines[band.used]
        left = used.take(low, axis=1).astype(np.float32)
        right = used.take(high, axis=1).astype(np.float32)
        if tf1:
            left *= _TO_UNIT
            right *= _TO_UNIT
        right -= left
        right *= across
        right += left
        above = right.take(band.low, axis=0)
        below = right.take(band.high, axis=0)
        below -= above
        below *= band.fraction
        below += above
        if not tf1:
            below += np.float32(0.5)  # the conversion to uint8 cuts off
        np.copyto(result[band.rows], below.reshape(-1, width, 3), casting="unsafe")


@dataclass(frozen=True, slots=True)
class _Band:
    """Some rows of a result, and where they read: `low + fraction * (high - low)`.

    Attributes:
        rows: of the result.
        used: rows of the picture that are read at all; `low` and `high` count in them.
        low, high: intp [rows].
        fraction: float32 [rows, 1].
    """

    rows: slice
    used: slice | NDArray[np.intp]
    low: NDArray[np.intp]
    high: NDArray[np.intp]
    fraction: NDArray[np.float32]


# A band's float32 values stay below malloc's threshold for mapping fresh pages: a page fault for
# each page of each intermediate array takes four times as long as the arithmetic (1.2 ms against
# 0.28 ms at 224 px).
_BAND_BYTES = 128 << 10


@lru_cache(maxsize=512)
def _bands(
    start: int, length: int, extent: float, height: int, width: int, tf1: bool
) -> tuple[_Band, ...]:
    low, high, fraction = _taps(length, extent, height, tf1)
    step = max(1, _BAND_BYTES // (12 * width))
    return tuple(
        _band(slice(first, first + step), low, high, fraction, start)
        for first in range(0, height, step)
    )


def _band(
    rows: slice,
    low: NDArray[np.intp],
    high: NDArray[np.intp],
    fraction: NDArray[np.float32],
    start: int,
) -> _Band:
    low, high = low[rows], high[rows]
    # In order, each once: `np.unique` would import numpy.ma, 0.01 s of a short command.
    needed = np.flatnonzero(np.bincount(np.concatenate([low, high])))
    used: slice | NDArray[np.intp] = needed + start
    if needed[-1] - needed[0] == needed.size - 1:  # no gaps: a slice, which copies nothing
        used = slice(start + int(needed[0]), start + int(needed[-1]) + 1)
    low, high = np.searchsorted(needed, low), np.searchsorted(needed, high)
    return _Band(rows, used, low, high, fraction[rows, None])


@lru_cache(maxsize=512)
def _column_taps(
    start: int, length: int, extent: float, width: int, tf1: bool
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Indices of bytes, and fractions, of each of the `width * 3` values of a row."""
    low, high, fraction = _taps(length, extent, width, tf1)
    channels = np.arange(3)
    low, high = (((index + start)[:, None] * 3 + channels).reshape(-1) for index in (low, high))
    return low, high, np.repeat(fraction, 3)


def _taps(
    length: int, extent: float, out: int, tf1: bool
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Lower and upper index (in 0..length-1) and fraction of each of `out` output pixels."""
    if tf1:  # TensorFlow's LegacyScaler computes in float32
        position = np.arange(out, dtype=np.float32) * (np.float32(extent) / np.float32(out))
        low = np.floor(position)
        fraction = position - low
    else:
        centre = (np.arange(out) + 0.5) * (extent / out) - 0.5
        centre = np.clip(centre, 0.0, length - 1.0)
        low = np.floor(centre)
        fraction = (centre - low).astype(np.float32)
    index = np.minimum(low.astype(np.intp), length - 1)
    return index, np.minimum(index + 1, length - 1), fraction


def shrunk_window(used: Box, factors: tuple[int, int]) -> Window:
    """The window that a box becomes when it is averaged by `factors` into a picture of its own."""
    (down, across) = factors
    rows, columns = math.ceil(used.height / down), math.ceil(used.width / across)
    return Window(Box(0, 0, rows, columns), used.height / down, used.width / across)
