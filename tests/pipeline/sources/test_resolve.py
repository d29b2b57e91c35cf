"""What a user names becomes items with stable ids, in an order that names decide."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobilenet_hub.errors import ImageError, ItemError, SourceError
from mobilenet_hub.images import decode, load_image
from mobilenet_hub.pipeline.sources.items import FileItem
from mobilenet_hub.pipeline.sources.resolve import open_sources, open_words
from pictures import encoded, picture, write_pictures
from source_support import LIMIT, ids


def test_a_word_that_names_nothing_is_refused_at_once():
    for word in ("nowhere.jpg", "nowhere/*.jpg"):
        with pytest.raises(SourceError, match="Received"):
            open_words([word])


def test_a_name_with_glob_characters_that_exists_is_a_file(here):
    (here / "a[1].jpg").write_bytes(b"x")
    assert ids("a[1].jpg") == ["a[1].jpg"]


def test_python_values_are_sources(here):
    write_pictures(here / "photos", 1)
    values = [here / "photos", "photos/0000.jpg", ("mine", b"pixels"), FileItem("photos/0000.jpg")]
    found = [(item.id, len(item.read(LIMIT)[0])) for item in open_sources(values).items()]
    size = len(encoded(0))
    assert found == [
        (str(here / "photos" / "0000.jpg"), size), ("photos/0000.jpg", size), ("mine", 6),
        ("photos/0000.jpg", size),
    ]  # fmt: skip
    assert open_sources(values).count() == 4
    with pytest.raises(SourceError, match="Received: int"):
        list(open_sources([3]).items())
    with pytest.raises(SourceError, match="Received: bytes"):
        open_sources(b"pixels")


def test_path_types_give_the_same_items(here):
    write_pictures(here / "photos", 1)
    assert ids(Path("photos")) == ids("photos")


def test_pictures_in_memory_are_sources():
    """As Pillow has them or as arrays: decoded, each is to the last bit what its file is."""
    image = picture(0)
    array = np.asarray(image)
    expected = decode(encoded(0, "PNG"))
    for source in (image, array, [image], iter([array]), array[None], [("0", array)]):
        (item,) = open_sources(source).items()
        assert item.id == "0"
        assert np.array_equal(decode(item.read(LIMIT)[0]), expected)
    assert [item.id for item in open_sources([image, ("mine", image)]).items()] == ["0", "mine"]
    assert np.array_equal(load_image(image, 24, 24), load_image(encoded(0, "PNG"), 24, 24))
    assert np.array_equal(load_image(array, 24, 24), load_image(encoded(0, "PNG"), 24, 24))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA", "I;16"])
def test_a_picture_in_memory_of_any_mode_is_decoded_as_its_file_is(mode):
    image = Image.new("I;16", (8, 8), 40_000) if mode == "I;16" else picture(0).convert(mode)
    file = io.BytesIO()
    image.save(file, "TIFF")
    (item,) = open_sources([image]).items()
    assert np.array_equal(decode(item.read(LIMIT)[0]), decode(file.getvalue()))


def test_a_picture_in_memory_is_turned_upright_as_its_file_is():
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    picture(0).save(file, "PNG", exif=exif)
    image = Image.open(file)
    assert np.array_equal(load_image(image, 24, 24), load_image(file.getvalue(), 24, 24))


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4, 3), np.float32), np.zeros((3, 8, 8), np.uint8), np.zeros((0, 4, 3), np.uint8)],
)
def test_an_array_that_is_no_picture_fails_with_its_shape(array):
    (item,) = open_sources(array).items()
    with pytest.raises(ItemError, match=r"expected uint8 \[height, width, 3\].*Received: "):
        item.read(LIMIT)
    with pytest.raises(ImageError, match="Received: "):
        load_image(array, 24, 24)


def test_what_cannot_be_opened_among_other_words_fails_for_its_own_reason(here):
    write_pictures(here, 1)
    (here / "list.csv").write_text("one,two\n")
    broken, good, missing = open_sources(["list.csv", "0000.jpg", "nowhere.csv"]).items()
    with pytest.raises(ItemError, match=r"cannot list: no column of list\.csv is named like paths"):
        broken.read(LIMIT)
    assert good.read(LIMIT)[0] == encoded(0)
    with pytest.raises(FileNotFoundError):
        missing.read(LIMIT)
