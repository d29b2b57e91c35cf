"""Which format an image has; PNG, WebP, GIF, BMP, TIFF and the rarest JPEGs to pixels, by Pillow.

The format is told by its first bytes, never by a file's name, and only that one plugin is asked:
Pillow's others, some of which start external programs, cannot be reached, and its module-wide
settings (`Image.MAX_IMAGE_PIXELS`) are neither needed nor touched.
"""

from __future__ import annotations

import codecs
import sys
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import ImageError
from mobilenet_hub.images.limits import check_pixels
from mobilenet_hub.images.orientation import parse_orientation, turned_upright

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",  # BigTIFF
    b"MM\0+": "TIFF",
}

# What people take for an image, or find in its place.
SEEMS_BYTES = 64  # of a file's beginning are enough to tell
_OTHERS = {
    b"\xff\x0a": "a JPEG XL image",
    b"\0\0\0\x0cJXL ": "a JPEG XL image",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 image",
    b"\xff\x4f\xff\x51": "a JPEG 2000 image",
    b"8BPS": "a Photoshop document",
    b"\0\0\1\0": "an icon",
    b"FUJIFILM": "a raw photo",
    b"%PDF": "a PDF document",
    b"%!PS": "a PostScript document",
    b"PK\3\4": "a ZIP archive, or a document in one",
    b"\x1f\x8b": "compressed by gzip",
    b"(\xb5/\xfd": "compressed by zstd",
    b"\x1a\x45\xdf\xa3": "a film",
    b"RIFF": "sound or a film",
    b"version https://git-lfs": "a Git LFS pointer, whose file was not fetched",
}
_BRANDS = {
    b"avif": "an AVIF image", b"avis": "an AVIF image",
    b"heic": "a HEIC image", b"heix": "a HEIC image", b"hevc": "a HEIC image",
    b"mif1": "a HEIF image", b"msf1": "a HEIF image", b"crx ": "a raw photo",
}  # fmt: skip
_MARKUP = {b"<!doctype html": "an HTML page", b"<html": "an HTML page", b"<svg": "an SVG drawing"}
_TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH = 322, 323


def recognise(head: bytes) -> str | None:
    """The format that a file's first 12 bytes announce, or None for one that is not read here."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    return next((name for sign, name in _SIGNATURES.items() if head.startswith(sign)), None)


def appearance(head: bytes) -> str:
    """What a file seems to be that is not read here, in words, without a byte of its content.

    Args:
        head: its beginning: `SEEMS_BYTES`, or all of a shorter file.
    """
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "a film")
    if found := next((words for sign, words in _OTHERS.items() if head.startswith(sign)), None):
        return found
    if not head.strip(b"\0"):
        return "nothing but zeros"
    text = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    if found := next((words for sign, words in _MARKUP.items() if text.startswith(sign)), None):
        return found
    try:  # a character may be cut off at the end
        letters = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        letters = "\0"
    is_text = all(letter.isprintable() or letter in "\t\r\n\f\ufeff" for letter in letters)
    return "text" if is_text else "none of the files that are mistaken for images"


def size_in(head: bytes, kind: str) -> tuple[int, int] | None:
    """Height and width, in pixels, in the beginning of a PNG or BMP; None of other kinds.

    Args:
        head: at least 26 bytes.
        kind: as `recognise` told it.
    """
    if kind == "PNG":
        return int.from_bytes(head[20:24], "big"), int.from_bytes(head[16:20], "big")
    if kind == "BMP" and head[14:18] != b"\x0c\0\0\0":  # the oldest have another header
        height = int.from_bytes(head[22:26], "little", signed=True)  # negative: from the top
        return abs(height), int.from_bytes(head[18:22], "little")
    return None


def decode(data: bytes, kind: str, path: str, max_pixels: int, *, upright: bool = True) -> Image:
    """The first frame, at full size, as RGB.

    Alpha is dropped, as `tf.io.decode_image(channels=3)`, Keras and torchvision drop it: what is
    left is the colour stored under it. Of 16 bits the upper 8 are kept, as TensorFlow does.

    Args:
        data: of a whole file.
        kind: as `recognise` told it.
        path: for errors.
        max_pixels: greatest width times height.
        upright: whether to apply the EXIF orientation of PNG and WebP. (Pillow applies a TIFF's
            itself, where it is part of the format; that of a JPEG is its caller's to apply.)

    Raises:
        ImageError: not readable, truncated, or of more pixels than allowed.
    """
    try:
        if kind == "WebP":  # Pillow's WebP plugin allocates as it opens
            check_pixels(*_webp_size(data), path, max_pixels)
        image = _open(data, kind)
        check_pixels(image.height, image.width, path, max_pixels)
        if kind == "TIFF":
            _check_tiles(image, path, max_pixels)
        image.load()
        if not _is_whole(data, kind):
            raise ImageError(path, f"truncated {kind}")
        rgb = _to_rgb(image, path)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # Pillow raises nearly anything for damaged data
        message = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(path, f"truncated or damaged {kind} ({message})") from error
    orientation = _orientation(image, kind) if upright else 1
    return rgb if orientation == 1 else to_image(turned_upright(np.asarray(rgb), orientation))


def upright_size(data: bytes, kind: str) -> tuple[int, int]:
    """Height and width, in pixels, of a picture that could be decoded, as it is meant to be seen.

    Args:
        data: the file.
        kind: as `recognise` told it; not JPEG.
    """
    image = _open(data, kind)
    sides_change = _orientation(image, kind) >= 5
    return (image.width, image.height) if sides_change else (image.height, image.width)


def _orientation(image: Image, kind: str) -> int:
    """Of EXIF, 1 to 8; formats in which nobody honours it are upright."""
    exif = image.info.get("exif") if kind in ("PNG", "WebP") else None
    return parse_orientation(exif) if isinstance(exif, bytes) else 1


def to_image(picture: NDArray[np.uint8]) -> Image:
    """A picture, uint8 [height, width, 3], as Pillow's RGB."""
    from PIL import Image

    return Image.fromarray(picture)


def is_picture(value: Any) -> bool:
    """Whether something is a picture in memory: Pillow's, or an array of height and width."""
    if isinstance(value, np.ndarray):
        return value.ndim in (2, 3)
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def to_file(picture: Any, path: str) -> bytes:
    """A picture in memory as a file that is decoded to the same pixels, its EXIF included.

    Args:
        picture: Pillow's, of any mode that has a meaning as RGB; or uint8 [height, width], or
            [height, width, 1, 3 or 4]: grey, RGB, and RGB with alpha, which is dropped.
        path: for errors.

    Returns:
        The bytes of a PNG that is not compressed.

    Raises:
        ImageError: samples without a meaning as RGB, or a Pillow image that cannot be loaded.
    """
    from PIL import Image

    exif = None
    if isinstance(picture, np.ndarray):
        channels = picture.shape[2:] in ((), (1,), (3,), (4,))
        if picture.dtype != np.uint8 or not channels or not picture.size:
            raise ImageError(
                path,
                "expected uint8 [height, width, 3], or with 1, 4 or no channels. "
                f"Received: {picture.dtype} {list(picture.shape)}",
            )
        picture = Image.fromarray(picture[..., 0] if picture.shape[2:] == (1,) else picture)
    else:
        exif = picture.getexif()
    file = BytesIO()
    try:
        picture.load()
        _to_rgb(picture.copy(), path).save(file, "PNG", compress_level=0, exif=exif or b"")
    except (OSError, ValueError, SyntaxError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(path, str(error)) from error
    return file.getvalue()


def _open(data: bytes, kind: str) -> ImageFile:
    """Let one plugin read the header."""
    file = BytesIO(data)
    if kind == "PNG":
        from PIL.PngImagePlugin import PngImageFile

        return PngImageFile(file)
    if kind == "WebP":
        from PIL.WebPImagePlugin import WebPImageFile

        return WebPImageFile(file)
    if kind == "GIF":
        from PIL.GifImagePlugin import GifImageFile

        return GifImageFile(file)
    if kind == "BMP":
        from PIL.BmpImagePlugin import BmpImageFile

        return BmpImageFile(file)
    if kind == "JPEG":
        from PIL.JpegImagePlugin import JpegImageFile

        return JpegImageFile(file)
    from PIL.TiffImagePlugin import TiffImageFile

    return TiffImageFile(file)


def _to_rgb(image: Image, path: str) -> Image:
    """Every mode that has a meaning as RGB."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16"):
        # The upper byte; Pillow's own conversion would clip at 255.
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return to_image(grey).convert("RGB")
    if image.mode in ("1", "L", "LA", "La", "P", "PA", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"):
        image.info.pop("transparency", None)  # dropped anyway; spares a warning about palettes
        return image.convert("RGB")
    raise ImageError(
        path,
        f"samples of Pillow's mode {image.mode!r} have no one meaning as RGB; convert the file to "
        "8 bits per channel of grey or RGB",
    )


def _check_tiles(image: ImageFile, path: str, max_pixels: int) -> None:
    """Refuse a TIFF whose tiles are too large, or too few for its picture.

    A tile's size is declared apart from the picture's, and allocated; and what no tile or strip
    covers Pillow leaves black.
    """
    covered = 0
    for tile in image.tile:
        left, top, right, bottom = tile.extents or (0, 0, 0, 0)
        covered += (right - left) * (bottom - top)
    if covered < image.width * image.height:
        raise ImageError(path, "truncated or damaged TIFF (strips or tiles are missing)")
    tags = getattr(image, "tag_v2", {})
    width, length = tags.get(_TIFF_TILE_WIDTH), tags.get(_TIFF_TILE_LENGTH)
    if isinstance(width, int) and isinstance(length, int):
        check_pixels(length, width, path, max_pixels)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Height and width that a WebP declares (RFC 9649, sections 2.5 to 2.7)."""
    chunk, body = data[12:16], data[20:]
    if len(body) < 10:
        raise ValueError("it ends in its header")
    if chunk == b"VP8X":
        return 1 + int.from_bytes(body[7:10], "little"), 1 + int.from_bytes(body[4:7], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    if chunk == b"VP8 ":
        width, height = (int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8))
        return height, width
    raise ValueError("an unknown first chunk")


def _is_whole(data: bytes, kind: str) -> bool:
    """Whether the file goes on to its end where Pillow stops at the last pixel it needs."""
    if kind == "PNG":
        return data.rfind(b"IEND\xaeB`\x82") > 0  # the last chunk and its checksum
    if kind == "GIF":
        return _gif_is_whole(data)
    return True


def _gif_is_whole(data: bytes) -> bool:
    """Walk the blocks of a GIF. A missing trailer alone is common, and no loss."""

    def after_palette(flags_at: int, next_at: int) -> int:
        flags = data[flags_at]
        return next_at + (3 << (flags & 7) + 1 if flags & 0x80 else 0)

    try:
        offset = after_palette(10, 13)
        while offset < len(data):
            introducer = data[offset]
            if introducer == 0x2C:  # a frame: descriptor, palette, code size
                offset = after_palette(offset + 9, offset + 10) + 1
            elif introducer == 0x21:  # an extension and its label
                offset += 2
            else:  # the trailer, or what other programs appended
                return True
            while size := data[offset]:
                offset += 1 + size
            offset += 1
    except IndexError:
        return False
    return True
