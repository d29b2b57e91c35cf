"""Small pictures inside a page."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from mobilenet_hub.pages.picture import jpeg_uri, png_uri


def opened(uri, kind):
    head, data = uri.split(",")
    assert head == f"data:image/{kind};base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_large_picture_becomes_small_and_a_small_one_stays():
    assert opened(jpeg_uri(np.zeros((400, 800, 3), np.uint8)), "jpeg").size == (176, 88)
    assert opened(jpeg_uri(np.zeros((30, 20, 3), np.uint8)), "jpeg").size == (20, 30)


def test_opacity_is_kept_exactly():
    pixels = np.arange(7 * 7 * 4, dtype=np.uint8).reshape(7, 7, 4)
    assert np.array_equal(np.asarray(opened(png_uri(pixels), "png")), pixels)
