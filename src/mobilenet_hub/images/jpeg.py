"""JPEG bytes to pixels, by libjpeg-turbo (simplejpeg), at full size or n/8 of it.

The few that simplejpeg refuses (unusual chroma sampling, arithmetic coding, lossless, an oddity in
the header) go through Pillow, at full size.
"""

from __future__ import annotations

import contextlib
import re
import threading
from dataclasses import dataclass
from functools import partial

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from mobilenet_hub.errors import ImageError
from mobilenet_hub.images import formats
from mobilenet_hub.images.limits import Data, check_pixels
from mobilenet_hub.images.orientation import parse_orientation, turned_upright

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

# Markers of ITU T.81, table B.1. SOF0 to SOF2 (baseline, extended, progressive; Huffman coded) are
# what simplejpeg decodes; C4, C8 and CC in the range of the SOFs are none.
_SOI, _EOI, _SOS, _APP1, _ADOBE, _TEM = 0xD8, 0xD9, 0xDA, 0xE1, 0xEE, 0x01
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SIMPLEJPEG_FRAMES = (0xC0, 0xC1, 0xC2)
_BASELINE = 0xC0
# In the data of a scan, FF is followed by 00, or is a restart marker, or begins the next segment.
_NEXT_SEGMENT = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a JPEG before it is decoded.

    Attributes:
        height, width: in pixels, as stored (not turned upright).
        orientation: EXIF's, 1 to 8.
        scalable: whether simplejpeg decodes it, which can do so at n/8 of the size.
        cmyk: whether the pixels are cyan, magenta, yellow, black.
        inverted: whether, then, 255 means no ink (an Adobe marker says so).
        scan: offset of the first scan.
    """

    height: int
    width: int
    orientation: int
    scalable: bool
    cmyk: bool
    inverted: bool
    scan: int

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width of the picture turned upright."""
        size = (self.height, self.width)
        return size if self.orientation < 5 else size[::-1]


def size_in(head: bytes) -> tuple[int, int] | None:
    """Height and width, in pixels, in the beginning of a file; None if they come later."""
    segments = _Segments()
    with contextlib.suppress(ImageError):  # of a picture that begins later, or never
        segments.read(head, "")
    return (segments.height, segments.width) if segments.frame else None


def read_header(data: Data, path: str, max_pixels: int) -> Header:
    """Parse the header, allocating nothing.

    Args:
        data: of a whole JPEG file.
        path: for errors.
        max_pixels: greatest height times width.

    Raises:
        ImageError: not a JPEG that can be decoded, or of more pixels than allowed.
    """
    segments = _Segments()
    segments.read(data, path)
    check_pixels(segments.height, segments.width, path, max_pixels)
    scalable, colours = segments.frame in _SIMPLEJPEG_FRAMES, ""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        scalable = scalable and (height, width) == (segments.height, segments.width)
    except (ValueError, KeyError):  # KeyError: of a chroma sampling that simplejpeg has no name for
        scalable = False  # what Pillow says counts: its picture or its error
    return Header(
        segments.height,
        segments.width,
        segments.orientation,
        scalable,
        colours in ("CMYK", "YCCK"),
        segments.adobe,
        segments.scan,
    )


def decode(
    data: Data,
    header: Header,
    path: str,
    *,
    scale_num: int = 8,
    fast_dct: bool = False,
    upright: bool = True,
    reuse_buffer: bool = False,
) -> NDArray[np.uint8]:
    """Decode at `scale_num` / 8 of the size.

    Args:
        data: of a whole JPEG file.
        header: of the same data.
        path: for errors.
        scale_num: 1 to 8; 8 where the header is not `scalable`.
        fast_dct: libjpeg's fast integer DCT, TensorFlow's default: at full size the result equals
            `tf.io.decode_jpeg(data, channels=3)` bit for bit. It is 0.8 levels too dark on
            average, which the slow DCT and the scaled decodes are not (nor is it faster here).
        upright: whether to apply the EXIF orientation.
        reuse_buffer: whether the result may lie in memory that this thread's next call overwrites.

    Returns:
        uint8 RGB [ceil(height scale_num / 8), ceil(width scale_num / 8), 3]; the two sides change
        places where the picture is turned.

    Raises:
        ImageError: the data ends early, or is damaged.
    """
    if header.scalable:
        pixels = _decode_scaled(data, header, path, scale_num, fast_dct, reuse_buffer)
    else:
        limit = header.height * header.width
        pixels = np.asarray(formats.decode(bytes(data), "JPEG", path, limit, upright=False))
    turned = upright and header.orientation != 1
    return turned_upright(pixels, header.orientation) if turned else pixels


def _decode_scaled(
    data: Data, header: Header, path: str, scale_num: int, fast_dct: bool, reuse_buffer: bool
) -> NDArray[np.uint8]:
    decode_jpeg = partial(
        simplejpeg.decode_jpeg, data, colorspace="CMYK" if header.cmyk else "RGB", fastdct=fast_dct,
        # It takes the smallest scale at which both minima are met.
        min_height=-(-header.height * scale_num // 8),
        min_width=-(-header.width * scale_num // 8),
        buffer=_buffer(header, scale_num) if reuse_buffer else None,
    )  # fmt: skip
    try:
        pixels: NDArray[np.uint8] = decode_jpeg(strict=True)
    except ValueError as error:
        reason = str(error)
        if not _HARMLESS.search(reason):
            early = "remature end" in reason
            words = "truncated or damaged JPEG" if early else "damaged JPEG"
            raise ImageError(path, f"{words} ({reason})") from error
        # The first warning hides later ones, so look for the end of the file ourselves.
        if not _has_end(data, header.scan, path):
            raise ImageError(path, "truncated JPEG (no end marker)") from error
        try:
            pixels = decode_jpeg(strict=False)
        except ValueError as fatal:
            raise ImageError(path, f"damaged JPEG ({fatal})") from fatal
    return _cmyk_to_rgb(pixels, inverted=header.inverted) if header.cmyk else pixels


class _Thread(threading.local):
    buffer: NDArray[np.uint8] | None = None


_MAX_BUFFER = 8 << 20
_thread = _Thread()


def _buffer(header: Header, scale_num: int) -> NDArray[np.uint8] | None:
    """This thread's memory for decoded pixels, if it is enough (or can be made so).

    Fresh memory for each picture means a page fault for each 4 KiB of it: a third of a
    millisecond at 224 px, a quarter of what the decoder takes.
    """
    channels = 4 if header.cmyk else 3
    size = -(-header.height * scale_num // 8) * -(-header.width * scale_num // 8) * channels
    if size > _MAX_BUFFER:
        return None
    if _thread.buffer is None or _thread.buffer.size < size:
        _thread.buffer = np.empty(max(size, 1 << 20), np.uint8)
    return _thread.buffer


def _cmyk_to_rgb(pixels: NDArray[np.uint8], *, inverted: bool) -> NDArray[np.uint8]:
    """TensorFlow's conversion (`jpeg_mem.cc`): light left by the ink times that left by black."""
    rgb = np.empty((*pixels.shape[:2], 3), np.uint8)
    for row, result in zip(pixels, rgb, strict=True):  # by rows, in which little memory is needed
        light = (row if inverted else 255 - row).astype(np.uint16)
        result[:] = light[:, :3] * light[:, 3:] // 255
    return rgb


@dataclass(slots=True)
class _Segments:
    """What the segments before the first scan say (ITU T.81, annex B)."""

    frame: int = 0
    height: int = 0
    width: int = 0
    orientation: int = 0
    adobe: bool = False
    scan: int = 0

    def read(self, data: Data, path: str) -> None:
        """Step from marker to marker, a handful of them, up to the first scan."""
        offset, end = 2, len(data)
        while offset + 4 <= end:
            marker = data[offset + 1]
            if data[offset] != 0xFF or marker == 0xFF:  # padding that libjpeg skips as well
                offset += 1
                continue
            if marker in (0x00, _TEM) or 0xD0 <= marker <= _SOI:  # no segment follows these
                offset += 2
                continue
            if marker in (_SOS, _EOI):
                break
            length = data[offset + 2] << 8 | data[offset + 3]
            self._note(marker, bytes(data[offset + 4 : offset + 2 + length]))
            offset += 2 + length
        else:
            raise ImageError(path, "truncated JPEG (it ends before the picture begins)")
        if marker == _EOI or not self.frame:
            raise ImageError(path, "a JPEG without a picture")
        self.scan, self.orientation = offset, self.orientation or 1
        if self.frame != _BASELINE:
            _has_end(data, offset, path)  # bounds the number of scans

    def _note(self, marker: int, segment: bytes) -> None:
        if marker in _FRAMES and not self.frame and len(segment) >= 5:
            self.frame = marker
            self.height = int.from_bytes(segment[1:3], "big")
            self.width = int.from_bytes(segment[3:5], "big")
        elif marker == _APP1 and not self.orientation and segment.startswith(b"Exif\0\0"):
            self.orientation = parse_orientation(segment)
        elif marker == _ADOBE and segment.startswith(b"Adobe"):
            self.adobe = True


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
