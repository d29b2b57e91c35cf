"""Small pictures inside a page: as `data:` URIs."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

THUMBNAIL = 176  # pixels on the longer side


def jpeg_uri(pixels: NDArray[np.uint8], size: int = THUMBNAIL) -> str:
    """A JPEG of at most `size` pixels a side.

    Args:
        pixels: uint8 [height, width, 3].
        size: of the longer side.
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((size, size))
    return _uri(image, "JPEG", quality=80)


def png_uri(pixels: NDArray[np.uint8]) -> str:
    """A PNG with transparency.

    Args:
        pixels: uint8 [height, width, 4]: red, green, blue, opacity.
    """
    from PIL import Image

    return _uri(Image.fromarray(pixels), "PNG")


def _uri(image: Any, kind: str, **options: Any) -> str:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
