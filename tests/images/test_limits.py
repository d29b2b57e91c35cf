"""Bounds on what a file may ask for, checked before anything is allocated."""

from __future__ import annotations

import struct
import zlib

import pytest
from PIL import Image

from image_files import FILES, encode, reason_for, scene
from mobilenet_hub.errors import ImageError
from mobilenet_hub.images import MAX_PIXELS, decode, load_image, read_file

# Pillow's remarks about damaged metadata.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def chunk(name, body):
    return struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body))


def claims_of_900_megapixels():
    side = 30_000
    jpeg = bytearray(FILES["jpeg_420"])
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    gif = bytearray(FILES["gif"])
    gif[6:10] = struct.pack("<HH", side, side)
    bmp = bytearray(FILES["bmp"])
    bmp[18:26] = struct.pack("<LL", side, side)
    tiff = encode(scene(8, 8), "TIFF")
    for tag in (256, 257):
        entry = struct.pack("<HHLL", tag, 4, 1, 8)
        assert entry in tiff
        tiff = tiff.replace(entry, struct.pack("<HHLL", tag, 4, 1, side))
    header = struct.pack(">LLBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1 << 20))
    canvas = (side - 1).to_bytes(3, "little") * 2
    return {
        "JPEG": bytes(jpeg),
        "PNG": b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b""),
        "GIF": bytes(gif),
        "BMP": bytes(bmp),
        "TIFF": tiff,
        "WebP": b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + canvas + bytes(20),
    }


@pytest.mark.parametrize(("kind", "data"), claims_of_900_megapixels().items())
def test_a_decompression_bomb_is_refused_by_its_header(kind, data):
    assert "30000 × 30000 = 900,000,000 pixels, more than the limit" in reason_for(data)
    assert f"{MAX_PIXELS:,}" in reason_for(data)


@pytest.mark.parametrize("name", ["jpeg_420", "png", "gif", "bmp", "webp"])
def test_the_limit_is_configurable(name):
    assert "1,575 pixels" in reason_for(FILES[name], max_pixels=1_574)
    assert load_image(FILES[name], 24, 24, max_pixels=1_575).shape == (24, 24, 3)


# Not WebP: there Pillow asks its own limit as well.
@pytest.mark.parametrize("name", ["jpeg_420", "png", "gif", "bmp"])
def test_pillows_own_limit_is_neither_asked_nor_changed(name, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode(FILES[name]).shape == (45, 35, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_no_more_of_a_file_is_read_than_a_picture_may_need(tmp_path):
    endless = tmp_path / "endless.bmp"
    endless.write_bytes(FILES["bmp"])
    with endless.open("r+b") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(ImageError, match=r"more than .* bytes"):
        read_file(endless, max_pixels=2_000)
