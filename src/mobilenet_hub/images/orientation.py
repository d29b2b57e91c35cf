"""EXIF orientation: finding it in a block of EXIF, and turning a picture upright."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_ORIENTATION_TAG = 0x0112  # EXIF 2.32, table 4; type SHORT, values 1 to 8
_SHORT = 3


def parse_orientation(exif: bytes) -> int:
    r"""Orientation (1 to 8) of a TIFF-structured block of EXIF; 1, upright, where it says nothing.

    A damaged block says nothing: it is a note about the picture, not the picture.

    Args:
        exif: with or without the `Exif\0\0` that precedes it in a JPEG.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return 1
    (directory,) = struct.unpack_from(f"{order}L", exif, 4)
    if directory + 2 > len(exif):
        return 1
    (entries,) = struct.unpack_from(f"{order}H", exif, directory)
    first = directory + 2
    for offset in range(first, min(first + 12 * entries, len(exif) - 11), 12):
        tag, kind, _, value = struct.unpack_from(f"{order}HHLH", exif, offset)
        if tag == _ORIENTATION_TAG:
            return value if kind == _SHORT and 1 <= value <= 8 else 1
    return 1


def turned_upright(picture: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The picture as it is meant to be seen.

    Args:
        picture: uint8 [height, width, 3] as stored.
        orientation: 2 to 8 (1 is upright). EXIF says which edge of the scene the stored first row
            and first column are; undoing it is at most a transposition, then flips.

    Returns:
        uint8, C-contiguous; height and width change places for 5 to 8.
    """
    if orientation >= 5:
        picture = picture.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):  # upside down (after the transposition, if any)
        picture = picture[::-1]
    if orientation in (2, 3, 6, 7):  # left and right exchanged
        picture = picture[:, ::-1]
    return np.ascontiguousarray(picture)
