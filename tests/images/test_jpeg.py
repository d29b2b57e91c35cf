"""JPEGs: scaled decoding, oddities that are forgiven, and damage that is not."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from image_files import FILES, encode, reason_for, scene
from mobilenet_hub.images import decode, load_image

# Pillow's remarks about damaged metadata.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def test_a_scaled_jpeg_shows_the_same_as_the_whole():
    smooth = np.asarray(
        Image.fromarray(scene(40, 60)).resize((1200, 800), Image.Resampling.BICUBIC)
    )
    data = encode(smooth, "JPEG", quality=95)
    whole = load_image(encode(Image.open(io.BytesIO(data)), "PNG"), 96, 96)
    difference = load_image(data, 96, 96).astype(int) - whole
    assert np.abs(difference).mean() < 2
    assert abs(difference.mean()) < 0.2


def test_unusual_chroma_sampling_is_read_at_full_size():
    data = grey_jpeg(96, 90, samplings=(0x22, 0x11, 0x12))
    with pytest.raises((ValueError, KeyError)):
        simplejpeg.decode_jpeg_header(data)
    assert (decode(data) == 90).all()
    assert (load_image(data, 24, 24) == 90).all()
    assert "truncated" in reason_for(data[:-20])


def grey_jpeg(side, level, samplings):
    """A JPEG of one grey, written by hand: each block is a code for "as before" and an end."""

    def segment(marker, *parts):
        body = b"".join(bytes(part) for part in parts)
        return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body

    blocks = (side // 16) ** 2 * sum((s >> 4) * (s & 15) for s in samplings)
    first = 8 * (level - 128)  # the first block's mean, unquantised: category 9 holds 256..511
    assert 256 <= -first <= 511
    bits = f"10{first + 511:09b}0" + "00" * (blocks - 1)
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big")
    assert b"\xff" not in scan
    return b"".join(
        [
            b"\xff\xd8",
            segment(0xDB, [0], [1] * 64),
            segment(
                0xC0,
                [8],
                struct.pack(">HH", side, side),
                [3],
                *([i + 1, s, 0] for i, s in enumerate(samplings)),
            ),
            segment(0xC4, [0x00], [1, 1], [0] * 14, [0, 9]),
            segment(0xC4, [0x10], [1], [0] * 15, [0]),
            segment(0xDA, [3, 1, 0, 2, 0, 3, 0, 0, 63, 0]),
            scan,
            b"\xff\xd9",
        ]
    )


@pytest.mark.parametrize("quality", [80, 95])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_cut_in_its_middle_and_ended_neatly_is_an_error(quality, progressive):
    data = encode(scene(200, 300), "JPEG", quality=quality, progressive=progressive)
    assert "JPEG" in reason_for(data[: len(data) // 2])
    if not progressive:  # a progressive one is then whole, only coarser
        assert "premature end" in reason_for(data[: len(data) // 2] + b"\xff\xd9")


@pytest.mark.parametrize("odd_at", [b"\xff\xc0", b"\xff\xda", b"\xff\xd9"])
def test_oddities_that_cost_no_pixel_are_forgiven_but_not_truncation_behind_them(odd_at):
    data = encode(scene(100, 120), "JPEG", quality=90)
    marker = data.index(odd_at)
    odd = data[:marker] + b"\x11\x22\x33\x44" + data[marker:]
    with pytest.raises(ValueError, match="extraneous"):
        simplejpeg.decode_jpeg(odd)
    np.testing.assert_array_equal(load_image(odd, 90, 90), load_image(data, 90, 90))
    assert "truncated" in reason_for(odd[: len(odd) * 2 // 3])


def test_truncation_is_found_behind_an_oddity_that_libjpeg_reports_first():
    data = bytearray(encode(scene(100, 120), "JPEG", quality=90))
    data[data.index(b"\xff\xda") + 12] = 62  # the scan says it ends a coefficient early
    with pytest.raises(ValueError, match="Invalid SOS parameters"):
        simplejpeg.decode_jpeg(bytes(data))
    assert load_image(data, 90, 90).shape == (90, 90, 3)
    assert "no end marker" in reason_for(data[: len(data) * 2 // 3])


def test_bytes_after_the_end_of_a_jpeg_are_ignored():
    data = FILES["jpeg_420"]
    np.testing.assert_array_equal(decode(data + b"\xff\xda" * 500), decode(data))


def test_a_jpeg_of_endless_scans_is_refused():
    data = encode(scene(32, 32), "JPEG", progressive=True)
    scan = data.rindex(b"\xff\xda")
    assert "scans" in reason_for(data[:scan] + data[scan:-2] * 200 + b"\xff\xd9")
