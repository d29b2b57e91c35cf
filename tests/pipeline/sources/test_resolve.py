"""What a user names becomes items with stable ids, in an order that names decide."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobilenet_hub.errors import SourceError
from mobilenet_hub.pipeline.sources.items import FileItem
from mobilenet_hub.pipeline.sources.resolve import open_sources, open_words
from pictures import encoded, write_pictures
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
