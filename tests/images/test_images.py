"""The picture room: bytes of image files become pixels of a size, or an `ImageError`.

`data/images_tensorflow.npz` holds small files of many kinds and what TensorFlow 2.21 makes of them:
`decoded` (`tf.io.decode_image(channels=3)`), `slim` (TF-Slim's evaluation: `convert_image_dtype`,
`central_crop` 0.875, `tf.compat.v1.image.resize_bilinear` to 20 × 16), `half_pixel`
(`tf.image.resize` of the whole to 42 × 50, bilinear, no antialias).
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from mobilenet_hub.errors import ImageError, InputError
from mobilenet_hub.images import MAX_PIXELS, Preprocessing, decode, load_image, read_file
from mobilenet_hub.images.geometry import layout, least_scale_num
from places import DATA

TENSORFLOW = np.load(DATA / "images_tensorflow.npz")
FILES = {
    key.removesuffix("/file"): TENSORFLOW[key].tobytes()
    for key in TENSORFLOW.files
    if key.endswith("/file")
}
CROPS = ("center", "slim", "none", "pad")

# Pillow's remarks about damaged metadata.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def scene(height, width, channels=3, seed=0):
    """Smooth waves with noise: uint8 [height, width, channels]."""
    rows, columns = np.mgrid[:height, :width]
    waves = [128 + 90 * np.sin(columns / (3 + k) + rows / (7 + k) + k) for k in range(channels)]
    noise = np.random.default_rng(seed).normal(0, 12, (height, width, channels))
    return np.clip(np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def encode(pixels, kind, mode=None, **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels, mode)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def reason_for(data, **options):
    with pytest.raises(ImageError) as caught:
        Preprocessing(24, 24, **options)(data, path="some/photo.jpg")
    assert caught.value.path == "some/photo.jpg"
    return caught.value.reason


# --- The original, pixel for pixel -------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_decodes_as_tensorflow_decodes_it(name):
    np.testing.assert_array_equal(decode(FILES[name]), TENSORFLOW[f"{name}/decoded"])


@pytest.mark.parametrize("name", ["jpeg_420", "jpeg_cmyk", "png", "png_16"])
def test_slim_tf1_is_tf_slims_evaluation_to_the_last_bit(name):
    pixels = load_image(FILES[name], 20, 16, crop="slim", resample="tf1")
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, TENSORFLOW[f"{name}/slim"])


@pytest.mark.parametrize("name", ["jpeg_420", "jpeg_cmyk", "png", "png_16"])
def test_bilinear_is_tensorflows_half_pixel_resize_rounded(name):
    # From TensorFlow's own pixels: the default decodes a JPEG with the more accurate DCT.
    data = encode(TENSORFLOW[f"{name}/decoded"], "PNG")
    pixels = load_image(data, 42, 50, crop="none")
    assert pixels.dtype == np.uint8
    difference = pixels - TENSORFLOW[f"{name}/half_pixel"].astype(np.float64)
    assert np.abs(difference).max() <= 0.5 + 1e-4


def test_photos_preprocess_as_the_original_did(shared):
    reference = np.load(shared / "oracle" / "photos_reference.npz")
    for name, wanted in zip(
        reference["files"][:4], reference["preprocessed_224_first4"], strict=True
    ):
        pixels = load_image(shared / "photos" / name, 224, 224, crop="slim", resample="tf1")
        np.testing.assert_array_equal(pixels, wanted)


# --- Crops and sampling, against a second, slow formulation ------------------------------------


def reference_edges(length, margin):
    start, stop = round(margin), round(length - margin)
    return (start, stop) if stop > start else ((length - 1) // 2, (length - 1) // 2 + 1)


def reference_crop(pixels, height, width, crop):
    h, w = pixels.shape[:2]
    if crop in ("none", "pad"):
        return pixels
    if crop == "slim":
        margins = int((h - h * 0.875) / 2), int((w - w * 0.875) / 2)
    else:  # the largest centred rectangle of the target's shape, times 7/8
        zoom = min(h / height, w / width) * 7 / 8
        margins = (h - height * zoom) / 2, (w - width * zoom) / 2
    (top, bottom), (left, right) = map(reference_edges, (h, w), margins)
    return pixels[top:bottom, left:right]


def reference_bilinear(pixels, height, width, extent):
    """One pixel after another, in float64."""
    rows, columns = pixels.shape[:2]
    result = np.empty((height, width, 3))
    for i in range(height):
        y = min(max((i + 0.5) * extent[0] / height - 0.5, 0), rows - 1)
        y0, y1 = math.floor(y), min(math.floor(y) + 1, rows - 1)
        for j in range(width):
            x = min(max((j + 0.5) * extent[1] / width - 0.5, 0), columns - 1)
            x0, x1 = math.floor(x), min(math.floor(x) + 1, columns - 1)
            a, b, c, d = (pixels[p].astype(float) for p in ((y0, x0), (y0, x1), (y1, x0), (y1, x1)))
            upper, lower = a + (b - a) * (x - x0), c + (d - c) * (x - x0)
            result[i, j] = upper + (lower - upper) * (y - y0)
    return result


def reference_boxes(pixels, height, width):
    """Averages of boxes by the greatest integers that leave enough; and the extent left."""
    rows, columns = pixels.shape[:2]
    down, across = max(1, rows // height), max(1, columns // width)
    if (down, across) == (1, 1):
        return pixels, (rows, columns)
    cells = [
        [
            pixels[i : i + down, j : j + across].reshape(-1, 3).mean(0)
            for j in range(0, columns, across)
        ]
        for i in range(0, rows, down)
    ]
    return np.floor(np.array(cells) + 0.5), (rows / down, columns / across)


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    target=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    crop=st.sampled_from(["center", "slim", "none"]),
)
def test_bilinear_equals_the_formula(size, target, crop):
    pixels = scene(*size)
    result = load_image(encode(pixels, "PNG"), *target, crop=crop)
    used = reference_crop(pixels, *target, crop)
    boxed, extent = reference_boxes(used, *target)
    wanted = reference_bilinear(boxed, *target, extent)
    # Half a level of rounding; one more where a box's average was itself rounded the other way.
    tolerance = 0.501 if boxed is used else 1.501
    assert np.abs(result - wanted).max() <= tolerance


@settings(deadline=None, max_examples=30)
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    target=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    crop=st.sampled_from(["center", "slim", "none"]),
)
def test_tf1_equals_the_formula_without_half_pixels(size, target, crop):
    pixels = scene(*size)
    result = load_image(encode(pixels, "PNG"), *target, crop=crop, resample="tf1")
    used = reference_crop(pixels, *target, crop) / 255
    y, x = (
        np.minimum(np.arange(n) * (length / n), length - 1)
        for n, length in zip(target, used.shape[:2], strict=True)
    )
    for i, row in enumerate(y):
        for j, column in enumerate(x):
            above, below = (
                [used[r, c] for c in (int(column), min(int(column) + 1, used.shape[1] - 1))]
                for r in (int(row), min(int(row) + 1, used.shape[0] - 1))
            )
            fy, fx = row - int(row), column - int(column)
            wanted = (1 - fy) * ((1 - fx) * above[0] + fx * above[1]) + fy * (
                (1 - fx) * below[0] + fx * below[1]
            )
            # float32 coordinates: 1e-5 of a pixel's step from black to white
            assert np.abs(result[i, j] - wanted).max() < 1e-4


def test_a_picture_of_the_needed_size_is_copied_untouched():
    pixels = scene(256, 341)  # 0.875 × 256 = 224; 341 is odd, so the crop's exact edge is not whole
    result = load_image(encode(pixels, "PNG"), 224, 224)
    np.testing.assert_array_equal(result, pixels[16:240, 58:282])


def test_center_keeps_the_shape_of_the_target():
    disc = np.hypot(*(np.mgrid[:400, :600] - np.array([199.5, 299.5])[:, None, None])) < 60
    pixels = np.repeat(disc[..., None].astype(np.uint8) * 255, 3, axis=2)
    for height, width in [(96, 96), (128, 64), (50, 150)]:
        seen = load_image(encode(pixels, "PNG"), height, width)[..., 0] > 127
        assert abs(seen.any(0).sum() - seen.any(1).sum()) <= 2


def test_pad_shows_the_whole_picture_amid_grey():
    pixels = np.full((50, 100, 3), 255, np.uint8)
    result = load_image(encode(pixels, "PNG"), 40, 40, crop="pad")
    assert (result[10:30] == 255).all()
    assert (result[:10] == 128).all()
    assert (result[30:] == 128).all()
    exact = load_image(encode(pixels, "PNG"), 40, 40, crop="pad", resample="tf1")
    assert (exact[10:30] == 1).all()
    assert (exact[:10] == 0.5).all()


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("size", [(1, 1), (1, 1000), (1000, 1), (2, 3)])
@pytest.mark.parametrize("target", [(1, 1), (96, 96), (30, 200)])
def test_tiny_and_thin_pictures_have_a_result(size, crop, target):
    for kind in ("PNG", "JPEG"):
        data = encode(np.full((*size, 3), 200, np.uint8), kind)
        for resample in ("bilinear", "tf1"):
            result = load_image(data, *target, crop=crop, resample=resample)
            assert result.shape == (*target, 3)
            white = 200 / 255 if resample == "tf1" else 200
            grey = 0.5 if resample == "tf1" else 128
            assert np.isclose(result, white, atol=1).any()
            assert (np.isclose(result, white, atol=1e-2) | (result == grey)).all()


# --- Scaled decoding -----------------------------------------------------------------------------


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    target=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    crop=st.sampled_from(CROPS),
)
def test_a_jpeg_is_never_decoded_smaller_than_needed_nor_larger(size, target, crop):
    def suffices(n):
        used, filled = layout(size, target, crop, n)
        return used.height >= filled.height and used.width >= filled.width

    n = least_scale_num(size, target, crop)
    assert n == 8 or suffices(n)
    assert not any(suffices(fewer) for fewer in range(1, n))


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    target=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    crop=st.sampled_from(CROPS),
    n=st.integers(1, 8),
)
def test_boxes_lie_inside_what_they_are_boxes_of(size, target, crop, n):
    used, filled = layout(size, target, crop, n)
    decoded = tuple(-(-length * n // 8) for length in size)
    for box, whole in ((used, decoded), (filled, target)):
        assert box.top >= 0
        assert box.left >= 0
        assert box.height >= 1
        assert box.width >= 1
        assert box.top + box.height <= whole[0]
        assert box.left + box.width <= whole[1]


@pytest.mark.parametrize("crop", ["center", "slim", "none"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(1500, 2000), (300, 3000)])
def test_a_large_picture_does_not_alias(kind, crop, size):
    stripes = np.zeros((*size, 3), np.uint8)
    stripes[:, ::2] = 255
    stripes[::2] ^= 255  # a chessboard of single pixels: from afar, grey
    data = encode(stripes, kind, **({"quality": 95} if kind == "JPEG" else {}))
    seen = load_image(data, 96, 96, crop=crop)
    assert np.abs(seen.astype(int) - 127).max() <= 12  # of 127; JPEG itself adds noise
    # which is what the original, on purpose, does not prevent:
    assert np.ptp(load_image(data, 96, 96, crop=crop, resample="tf1")) > 0.2


def test_a_scaled_jpeg_shows_the_same_as_the_whole():
    smooth = np.asarray(
        Image.fromarray(scene(40, 60)).resize((1200, 800), Image.Resampling.BICUBIC)
    )
    data = encode(smooth, "JPEG", quality=95)
    whole = load_image(encode(Image.open(io.BytesIO(data)), "PNG"), 96, 96)
    difference = load_image(data, 96, 96).astype(int) - whole
    assert np.abs(difference).mean() < 2
    assert abs(difference.mean()) < 0.2


# --- Orientation ---------------------------------------------------------------------------------


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block


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


# --- Kinds of pixels that TensorFlow does not read -----------------------------------------------


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


# --- What cannot be read -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "not a JPEG, PNG, WebP, GIF, BMP or TIFF image"),
        (b"%PDF-1.7", "not a JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "not a JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a JPEG"),
        (b"\0" * 1000, "not a JPEG"),
        (b"\xff\xd8\xff", "truncated JPEG"),
        (b"\xff\xd8\xff\xd9\xff\xd9\xff\xd9", "without a picture"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"RIFF\0\0\0\0WEBP", "WebP"),
        (b"RIFF\0\0\0\0WAVE" + b"\0" * 99, "not a JPEG"),
        (b"GIF89a", "GIF"),
        (b"BM", "BMP"),
        (b"II*\0", "TIFF"),
    ],
)
def test_what_is_no_image_says_so(data, words):
    assert words in reason_for(data)


TRUNCATABLE = {
    **FILES,
    "webp_lossy": encode(scene(40, 30), "WebP"),
    "gif_animated": encode(
        Image.fromarray(scene(40, 30)),
        "GIF",
        save_all=True,
        append_images=[Image.fromarray(scene(40, 30, seed=n)) for n in (1, 2)],
    ),
    **{
        f"tiff_{compression}": encode(scene(40, 30), "TIFF", compression=compression)
        for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
    },
}


@pytest.mark.parametrize("name", TRUNCATABLE)
def test_a_truncated_file_is_an_error_wherever_it_was_cut(name):
    data = TRUNCATABLE[name]
    load_image(data, 24, 24)
    # All but the last 4 bytes: a GIF's trailer and a BMP's padding are no loss.
    for length in {0, 1, 10, 50, *np.linspace(1, len(data) - 4, 40, dtype=int).tolist()}:
        assert reason_for(data[:length])


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


def test_paths_that_cannot_be_read_say_why(tmp_path):
    with pytest.raises(ImageError, match="No such file") as caught:
        load_image(tmp_path / "gone.jpg", 24, 24)
    assert caught.value.path == str(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="directory"):
        load_image(tmp_path, 24, 24)
    with pytest.raises(ImageError, match="null"):
        load_image("a\0b.jpg", 24, 24)
    page = tmp_path / "page.jpg"
    page.write_bytes(b"<html>")
    with pytest.raises(ImageError, match="not a JPEG"):
        load_image(page, 24, 24)


def test_no_more_of_a_file_is_read_than_a_picture_may_need(tmp_path):
    endless = tmp_path / "endless.bmp"
    endless.write_bytes(FILES["bmp"])
    with endless.open("r+b") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(ImageError, match=r"more than .* bytes"):
        read_file(endless, max_pixels=2_000)


FUZZED = {**TRUNCATABLE, "jpeg_exif": encode(scene(40, 30), "JPEG", exif=exif(6))}


@settings(deadline=None, max_examples=400)
@given(data=st.data())
def test_damaged_files_yield_a_picture_or_an_image_error_and_nothing_else(data):
    name = data.draw(st.sampled_from(sorted(FUZZED)))
    damaged = bytearray(FUZZED[name])
    position = st.one_of(st.integers(0, len(damaged) - 1), st.integers(0, 80))
    for at, value in data.draw(st.lists(st.tuples(position, st.binary(max_size=6)), max_size=8)):
        damaged[at : at + max(1, len(value))] = value
    if name.startswith("png"):
        damaged = with_valid_checksums(damaged)
    crop, resample = data.draw(st.sampled_from([("center", "bilinear"), ("pad", "tf1")]))
    try:
        result = load_image(damaged, 24, 16, crop=crop, resample=resample, max_pixels=1_000_000)
    except ImageError as error:
        assert error.reason
    else:
        assert result.shape == (24, 16, 3)


def with_valid_checksums(png):
    at = 8
    while at + 12 <= len(png):
        end = at + 8 + int.from_bytes(png[at : at + 4], "big")
        if end + 4 > len(png):
            break
        png[end : end + 4] = struct.pack(">L", zlib.crc32(png[at + 4 : end]))
        at = end + 4
    return png


# --- The interface -------------------------------------------------------------------------------


def test_bytes_of_every_sort_and_paths_of_every_sort_are_taken(tmp_path):
    data = FILES["jpeg_420"]
    wanted = load_image(data, 24, 24)
    strided = memoryview(np.repeat(np.frombuffer(data, np.uint8), 2))[::2]
    for source in (bytearray(data), memoryview(data), memoryview(bytearray(data)), strided):
        np.testing.assert_array_equal(load_image(source, 24, 24), wanted)
    path = tmp_path / "a photo with spaces\nand a newline.png"  # a JPEG, by its content
    path.write_bytes(data)
    for source in (path, str(path)):
        np.testing.assert_array_equal(load_image(source, 24, 24), wanted)
    assert read_file(path) == data


def test_the_result_can_be_written_to_a_slot_of_a_batch():
    for resample, dtype in (("bilinear", np.uint8), ("tf1", np.float32)):
        preprocessing = Preprocessing(24, 32, "pad", resample)
        assert preprocessing.shape == (24, 32, 3)
        assert preprocessing.dtype == dtype
        batch = np.zeros((2, *preprocessing.shape), preprocessing.dtype)
        result = preprocessing(FILES["png"], into=batch[1])
        assert np.shares_memory(result, batch)
        np.testing.assert_array_equal(batch[1], preprocessing(FILES["png"]))
        assert (batch[0] == 0).all()


def test_a_slot_that_does_not_fit_is_refused():
    preprocessing = Preprocessing(24, 32)
    frozen = np.zeros((24, 32, 3), np.uint8)
    frozen.flags.writeable = False
    for slot in (np.zeros((32, 24, 3), np.uint8), np.zeros((24, 32, 3), np.float32), frozen):
        with pytest.raises(InputError, match="Received"):
            preprocessing(FILES["png"], into=slot)


@pytest.mark.parametrize(
    "wrong",
    [
        {"height": 0},
        {"width": -1},
        {"height": 9.5},
        {"width": True},
        {"crop": "centre"},
        {"resample": "bicubic"},
        {"max_pixels": 0},
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(InputError, match="Received"):
        Preprocessing(**{"height": 24, "width": 24, **wrong})


def test_threads_and_processes_share_a_preprocessing():
    preprocessing = Preprocessing(24, 32)
    assert pickle.loads(pickle.dumps(preprocessing)) == preprocessing
    names = sorted(FILES) * 8
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda name: preprocessing(FILES[name]), names))
    for name, result in zip(names, together, strict=True):
        np.testing.assert_array_equal(result, preprocessing(FILES[name]))


def test_a_result_is_its_owners():
    first = [load_image(FILES["jpeg_420"], 24, 24), decode(FILES["jpeg_420"])]
    kept = [pixels.copy() for pixels in first]
    for name in FILES:
        load_image(FILES[name], 24, 24)
        decode(FILES[name])
    for pixels, wanted in zip(first, kept, strict=True):
        np.testing.assert_array_equal(pixels, wanted)
        pixels[:] = 0  # writeable


def test_pillow_is_not_imported_for_jpegs_nor_its_other_plugins_for_anything():
    program = """
import sys
from mobilenet_hub.images import load_image
jpeg, gif = sys.stdin.buffer.read().split(b"<and>")
load_image(jpeg, 8, 8)
assert not any(name.startswith("PIL") for name in sys.modules), "imported for a JPEG"
load_image(gif, 8, 8)
plugins = {name for name in sys.modules if name.startswith("PIL.") and name.endswith("Plugin")}
assert plugins <= {"PIL.GifImagePlugin"}, plugins
"""
    data = FILES["jpeg_420"] + b"<and>" + FILES["gif"]
    subprocess.run([sys.executable, "-c", program], input=data, check=True)
