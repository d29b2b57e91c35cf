"""Pictures are turned upright as their EXIF says, and not where it says nothing."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from image_files import encode, exif, scene
from mobilenet_hub.images import decode, load_image

# Pillow's remarks about damaged metadata.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "TIFF"])
def test_pictures_are_turned_upright(kind, orientation):
    pixels = scene(24, 40)
    data = encode(
        pixels,
        kind,
        **({"lossless": True} if kind == "WebP" else {}),
        **({"tiffinfo": {274: orientation}} if kind == "TIFF" else {"exif": exif(orientation)}),
    )
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))  # Pillow's own turning
    assert upright.size == ((40, 24) if orientation < 5 else (24, 40))
    np.testing.assert_array_equal(
        load_image(data, 30, 20), load_image(encode(upright, "PNG"), 30, 20)
    )
    if kind != "JPEG":
        np.testing.assert_array_equal(decode(data), np.asarray(upright))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_scaled_jpeg_is_turned_upright_as_well(orientation):
    quarters = np.zeros((400, 600, 3), np.uint8)
    quarters[:200, :300], quarters[:200, 300:] = (255, 0, 0), (0, 255, 0)
    quarters[200:, :300] = (0, 0, 255)  # upright: red, green above blue, black
    undo = {6: 8, 8: 6}.get(orientation, orientation)
    stored = Image.fromarray(quarters)
    stored.getexif()[0x0112] = undo
    stored = ImageOps.exif_transpose(stored)
    data = encode(np.asarray(stored), "JPEG", exif=exif(orientation), subsampling=0, quality=95)
    seen = load_image(data, 48, 48)
    corners = [seen[y, x].astype(int) for y in (8, 40) for x in (8, 40)]
    wanted = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)]
    assert np.abs(np.array(corners) - np.array(wanted)).max() < 12


def test_either_byte_order_of_exif_is_understood():
    data = encode(scene(24, 40), "JPEG", exif=exif(6))
    assert b"MM\0*" in data
    little = b"Exif\0\0II*\0" + struct.pack("<LHHHLHHL", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    assert decode(encode(scene(24, 40), "JPEG", exif=little)).shape == (40, 24, 3)
    assert decode(data).shape == (40, 24, 3)


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\0" * 30,
        b"Exif\0\0II*\0" + struct.pack("<LHHHLHHL", 8, 1, 0x0112, 3, 1, 9, 0, 0),
        b"Exif\0\0II*\0" + struct.pack("<LHHHLHHL", 8, 1, 0x0112, 2, 1, 6, 0, 0),
    ],
)
def test_damaged_exif_does_not_cost_the_picture(block):
    assert decode(encode(scene(24, 40), "JPEG", exif=block)).shape == (24, 40, 3)


def test_tf1_ignores_orientation_as_the_original_did():
    plain, turned = (encode(scene(24, 40), "JPEG", exif=exif(n)) for n in (1, 6))
    exact = {"crop": "none", "resample": "tf1"}
    np.testing.assert_array_equal(
        load_image(plain, 24, 40, **exact), load_image(turned, 24, 40, **exact)
    )
