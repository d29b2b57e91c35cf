"""JPEG bytes to pixels, by libjpeg-turbo (simplejpeg), at full size or n/8 of it.

Always with the fast integer DCT, which is TensorFlow's default: a full-size decode here equals
`tf.io.decode_jpeg(data, channels=3)` bit for bit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from mobilenet_hub.errors import ImageError
from mobilenet_hub.images.limits import Data, check_pixels
from mobilenet_hub.images.orientation import parse_orientation, upright

SIGNATURE = b"\xff\xd8\xff"

# libjpeg's warnings about oddities that leave every pixel as it was meant (jerror.h). All its
# other warnings mean missing or garbled pixels. It reports only the first of a file.
_HARMLESS = re.compile(
    r"extraneous bytes before marker 0x(?!d[0-7])"  # padding; but before RSTn data was lost
    r"|Unknown Adobe color transform"
    r"|unknown JFIF revision"
    r"|bad ICC marker"
    r"|Invalid SOS parameters for sequential"  # from some old cameras
    r"|Inconsistent progression sequence"
)

# Encoders write about 10 scans. A few bytes make one more, and each costs a pass over the whole
# picture, so without a bound a small file could keep a core busy for hours.
_MAX_SCANS = 100

_SOI, _EOI, _SOS, _APP1, _ADOBE, _TEM = 0xD8, 0xD9, 0xDA, 0xE1, 0xEE, 0x01
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
# In the data of a scan, FF is followed by 00, or is a restart marker, or begins the next segment.
_NEXT_SEGMENT = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a JPEG before it is decoded.

    Attributes:
        height, width: in pixels, as stored (not turned upright).
        orientation: EXIF's, 1 to 8.
        inks: whether the pixels are cyan, magenta, yellow, black.
        inverted: whether, then, 255 means no ink (an Adobe marker says so).
        scan: offset of the first scan.
    """

    height: int
    width: int
    orientation: int
    inks: bool
    inverted: bool
    scan: int

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width of the picture turned upright."""
        size = (self.height, self.width)
        return size if self.orientation < 5 else size[::-1]


def read_header(data: Data, path: str, max_pixels: int) -> Header:
    """Parse the header, allocating nothing.

    Raises:
        ImageError: not a JPEG that can be decoded, or of more pixels than allowed.
    """
    orientation, inverted, scan = _walk(data, path)
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except ValueError as error:
        raise ImageError(path, f"damaged JPEG header ({error})") from error
    check_pixels(height, width, path, max_pixels)
    return Header(height, width, orientation, colours in ("CMYK", "YCCK"), inverted, scan)


def decode(
    data: Data, header: Header, path: str, *, eighths: int = 8, turn: bool = True
) -> NDArray[np.uint8]:
    """Decode at `eighths` / 8 of the size.

    Args:
        data: of a whole JPEG file.
        header: of the same data.
        path: for errors.
        eighths: 1 to 8.
        turn: whether to turn the picture upright.

    Returns:
        uint8 RGB [ceil(height eighths / 8), ceil(width eighths / 8), 3], or turned.

    Raises:
        ImageError: the data ends early, or is damaged.
    """
    try:
        pixels = _decode(data, header, eighths, strict=True)
    except ValueError as error:
        reason = str(error)
        if not _HARMLESS.search(reason):
            early = "Premature end" in reason or "premature end" in reason
            words = "truncated or damaged JPEG" if early else "damaged JPEG"
            raise ImageError(path, f"{words} ({reason})") from error
        # The first warning hides later ones, so look for the end of the file ourselves.
        if not _has_end(data, header.scan, path):
            raise ImageError(path, "truncated JPEG (no end marker)") from error
        try:
            pixels = _decode(data, header, eighths, strict=False)
        except ValueError as fatal:
            raise ImageError(path, f"damaged JPEG ({fatal})") from fatal
    if header.inks:
        pixels = _inks_to_rgb(pixels, inverted=header.inverted)
    return upright(pixels, header.orientation if turn else 1)


def _decode(data: Data, header: Header, eighths: int, *, strict: bool) -> NDArray[np.uint8]:
    # simplejpeg takes the smallest scale at which both minima are met.
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
        data,
        colorspace="CMYK" if header.inks else "RGB",
        fastdct=True,
        min_height=-(-header.height * eighths // 8),
        min_width=-(-header.width * eighths // 8),
        strict=strict,
    )
    return pixels


def _inks_to_rgb(pixels: NDArray[np.uint8], *, inverted: bool) -> NDArray[np.uint8]:
    """TensorFlow's conversion (`jpeg_mem.cc`): light left by the ink times that left by black."""
    if not inverted:
        pixels = 255 - pixels
    light = pixels.astype(np.uint16)
    light = light[..., :3] * light[..., 3:]
    light //= 255
    return light.astype(np.uint8)


def _walk(data: Data, path: str) -> tuple[int, bool, int]:
    """Orientation, whether there is an Adobe marker, and where the first scan begins.

    Reads marker by marker (ITU T.81, annex B) up to the first scan, a handful of steps.
    """
    orientation, adobe, seen_exif, progressive = 1, False, False, False
    offset, end = 2, len(data)
    while offset + 4 <= end:
        if data[offset] != 0xFF:  # padding that libjpeg skips as well
            offset += 1
            continue
        marker = data[offset + 1]
        if marker == 0xFF:  # a fill byte
            offset += 1
            continue
        if marker in (0x00, _TEM) or 0xD0 <= marker <= _SOI:  # no segment follows these
            offset += 2
            continue
        if marker == _EOI:
            raise ImageError(path, "a JPEG without a picture")
        if marker == _SOS:
            if progressive:
                _has_end(data, offset, path)  # bounds the number of scans
            return orientation, adobe, offset
        length = data[offset + 2] << 8 | data[offset + 3]
        segment = offset + 4
        if marker == _APP1 and not seen_exif and data[segment : segment + 6] == b"Exif\0\0":
            orientation = parse_orientation(bytes(data[segment : offset + 2 + length]))
            seen_exif = True
        elif marker == _ADOBE and data[segment : segment + 5] == b"Adobe":
            adobe = True
        elif marker in _PROGRESSIVE:
            progressive = True
        offset += 2 + length
    raise ImageError(path, "truncated JPEG (it ends before the picture begins)")


def _has_end(data: Data, offset: int, path: str) -> bool:
    """Whether the picture whose first scan begins at `offset` is followed by an end marker.

    Raises:
        ImageError: more scans than any encoder writes.
    """
    scans = 0
    while found := _NEXT_SEGMENT.search(data, offset):
        offset, marker = found.start(), data[found.start() + 1]
        if marker == _EOI:
            return True
        scans += marker == _SOS
        if scans > _MAX_SCANS:
            raise ImageError(path, f"a JPEG of more than {_MAX_SCANS} scans")
        offset += 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
    return False
