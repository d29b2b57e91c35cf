"""Bounds on hostile input, and what counts as bytes."""

from __future__ import annotations

from mobilenet_hub.errors import ImageError

Data = bytes | bytearray | memoryview

# The number of pixels at which Pillow refuses an image: a picture of 13,377 × 13,377. Decoding
# takes up to 6 bytes a pixel, so at most about 1 GiB.
MAX_PIXELS = 178_956_970


def check_pixels(height: int, width: int, path: str, max_pixels: int) -> None:
    """Refuse a picture of more pixels than allowed, before anything is allocated for it.

    Raises:
        ImageError: too many pixels, or none.
    """
    if height < 1 or width < 1:
        raise ImageError(path, f"a picture without pixels ({width} × {height})")
    if height * width > max_pixels:
        raise ImageError(
            path,
            f"{width} × {height} = {height * width:,} pixels, more than the limit of "
            f"{max_pixels:,} (a decompression bomb?); pass a greater max_pixels if it is meant",
        )


def max_bytes(max_pixels: int) -> int:
    """The largest file that is read: 16-bit RGBA without compression, and 16 MiB of metadata."""
    return 8 * max_pixels + (16 << 20)
