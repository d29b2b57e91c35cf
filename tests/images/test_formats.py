"""Kinds of files and pixels that TensorFlow does not read."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from image_files import encode, reason_for, scene
from mobilenet_hub.images import decode, load_image

# Pillow's remarks about damaged metadata.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_is_read(compression):
    options = {"compression": compression} if compression else {}
    np.testing.assert_array_equal(decode(encode(scene(20, 30), "TIFF", **options)), scene(20, 30))


def test_the_upper_byte_of_16_bits_is_kept():
    grey = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    for kind in ("PNG", "TIFF"):
        np.testing.assert_array_equal(decode(encode(grey, kind))[..., 1], grey >> 8)


def test_cmyk_tiff_bilevel_and_grey_become_rgb():
    inks = np.zeros((4, 4, 4), np.uint8)
    inks[:2, :, 0] = 255  # cyan above white
    seen = decode(encode(inks, "TIFF", "CMYK"))
    assert (seen[:2] == (0, 255, 255)).all()
    assert (seen[2:] == 255).all()
    bilevel = Image.fromarray(scene(8, 8)[..., 0]).convert("1")
    wanted = np.repeat(np.asarray(bilevel)[..., None] * np.uint8(255), 3, axis=2)
    np.testing.assert_array_equal(decode(encode(bilevel, "PNG")), wanted)
    np.testing.assert_array_equal(decode(encode(bilevel, "TIFF", compression="group4")), wanted)
    grey = scene(8, 8)[..., 0]
    np.testing.assert_array_equal(decode(encode(grey, "BMP")), np.repeat(grey[..., None], 3, 2))


def test_the_colour_under_alpha_is_kept():
    pixels = scene(16, 16, 4)
    pixels[..., 3] = 0
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WebP", {"lossless": True, "exact": True})):
        np.testing.assert_array_equal(decode(encode(pixels, kind, **options)), pixels[..., :3])
    shrunk = load_image(encode(pixels, "PNG"), 4, 4)
    np.testing.assert_array_equal(shrunk, load_image(encode(pixels[..., :3].copy(), "PNG"), 4, 4))


@pytest.mark.parametrize("kind", ["GIF", "WebP", "PNG", "TIFF"])
def test_the_first_frame_stands_for_an_animation(kind):
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WebP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (decode(data) == (255, 0, 0)).all()


def test_samples_that_are_not_plainly_rgb_are_refused():
    data = encode(np.ones((8, 8), np.float32), "TIFF")
    assert "no one meaning as RGB" in reason_for(data)


def tiled_tiff(tile):
    """16 × 16 grey pixels in one tile of `tile` × `tile`, written by hand."""
    tags = {
        256: 16,
        257: 16,
        258: 8,
        259: 1,
        262: 1,
        277: 1,
        322: tile,
        323: tile,
        324: 0,
        325: 256,
    }
    tags[324] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<LH", 8, len(tags)) + entries + bytes(4) + bytes(range(256))


@pytest.mark.parametrize("options", [{}, {"strip_size": 40 * 3 * 4}])
def test_a_tiff_without_some_of_its_strips_is_refused(options):
    data = encode(scene(24, 40), "TIFF", **options)
    (directory,) = struct.unpack_from("<L", data, 4)
    height = data.index(struct.pack("<HH", 257, 4), directory) + 8
    assert struct.unpack_from("<L", data, height) == (24,)
    longer = data[:height] + struct.pack("<L", 240) + data[height + 4 :]
    assert "strips or tiles are missing" in reason_for(longer)


def test_a_tiff_of_small_size_and_vast_tiles_is_refused():
    np.testing.assert_array_equal(
        decode(tiled_tiff(16))[..., 0], np.arange(256, dtype=np.uint8).reshape(16, 16)
    )
    assert "more than the limit" in reason_for(tiled_tiff(1 << 20))
