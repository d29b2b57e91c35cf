"""Bounds on hostile input, and what counts as bytes."""

from __future__ import annotations

from mobilenet_hub.errors import ImageError

Data = bytes | bytearray | memoryview


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
