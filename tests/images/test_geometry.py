"""Crops and sampling, against a second, slow formulation; how small a JPEG may be decoded."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_files import CROPS, encode, scene
from mobilenet_hub.images import load_image
from mobilenet_hub.images.geometry import layout, least_scale_num

# Pillow's remarks about damaged metadata.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def reference_edges(length, margin):
    start, stop = round(margin), round(length - margin)
    return (start, stop) if stop > start else ((length - 1) // 2, (length - 1) // 2 + 1)


def reference_crop(pixels, height, width, crop):
    h, w = pixels.shape[:2]
    if crop in ("none", "pad"):
        return pixels
    if crop == "slim":
        margins = int((h - h * 0.875) / 2), int((w - w * 0.875) / 2)
    else:  # the largest centred rectangle of the target's shape, or 7/8 of it
        zoom = min(h / height, w / width) * (1 if crop == "cover" else 7 / 8)
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
    crop=st.sampled_from(["center", "cover", "slim", "none"]),
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
    crop=st.sampled_from(["center", "cover", "slim", "none"]),
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
