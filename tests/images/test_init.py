"""The picture room: bytes of image files become pixels of a size, or an `ImageError`."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_files import FILES, TENSORFLOW, TRUNCATABLE, encode, exif, reason_for, scene
from mobilenet_hub.errors import ImageError, ImageFormatError, InputError
from mobilenet_hub.images import Preprocessing, decode, load_image, read_file

# Pillow's remarks about damaged metadata.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


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


@pytest.mark.parametrize(
    ("data", "seems"),
    [
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>secret", "an HTML page"),
        (b"<svg xmlns='secret'/>", "an SVG drawing"),
        (b"%PDF-1.7 secret", "a PDF document"),
        (b"\0\0\0\x18ftypheic secret", "a HEIC image"),
        (b"\0\0\0\x1cftypavif secret", "an AVIF image"),
        (b"\0\0\0\x1cftypisom secret", "a film"),
        (b"\0\0\0\x0cJXL \r\n secret", "a JPEG XL image"),
        (b"RIFF\0\0\0\0WAVEsecret", "sound or a film"),
        (b"version https://git-lfs.github.com/spec/v1\nsecret", "a Git LFS pointer"),
        (b"\0" * 1000, "nothing but zeros"),
        (b"password=secret", "text"),
        (b"secret " * 9 + "\u00e9".encode(), "text"),  # cut off within a character
        (b"\x01secret\xff\xfe", "none of the files that are mistaken for images"),
    ],
)
def test_what_is_no_image_is_told_by_its_kind_and_never_by_its_content(tmp_path, data, seems):
    (tmp_path / "a.jpg").write_bytes(data)
    for source in (data, tmp_path / "a.jpg"):
        with pytest.raises(ImageFormatError) as caught:
            load_image(source, 24, 24)
        assert seems in caught.value.seems
        assert caught.value.seems in caught.value.reason
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", TRUNCATABLE)
def test_a_truncated_file_is_an_error_wherever_it_was_cut(name):
    data = TRUNCATABLE[name]
    load_image(data, 24, 24)
    # All but the last 4 bytes: a GIF's trailer and a BMP's padding are no loss.
    for length in {0, 1, 10, 50, *np.linspace(1, len(data) - 4, 40, dtype=int).tolist()}:
        assert reason_for(data[:length])


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
