"""Items: ids that stay with them, and reading that nothing can hold up."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenet_hub.errors import ItemError
from mobilenet_hub.pipeline.sources.items import FileItem, nanoseconds, path_id
from mobilenet_hub.pipeline.sources.resolve import open_sources
from source_support import LIMIT


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name))
def test_an_id_is_utf8_on_one_line_and_undoes_to_its_path(name):
    identity = path_id(os.fsdecode(name))
    identity.encode()
    assert identity.isprintable() or not any(ord(c) < 32 or ord(c) == 127 for c in identity)
    parts = [
        bytes([int(text[1:3], 16)]) + text[3:].encode() if index and escaped(text) else
        (b"\\" if index else b"") + text.encode()
        for index, text in enumerate(identity.split("\\"))
    ]  # fmt: skip
    assert b"".join(parts) == name


def escaped(text):
    return len(text) >= 3 and text[0] == "x" and all(c in "0123456789abcdef" for c in text[1:3])


def test_an_ordinary_path_is_its_own_id():
    assert path_id("photos/Ärger (1).jpg") == "photos/Ärger (1).jpg"


def test_a_pipe_among_the_images_does_not_block(here):
    os.mkfifo(here / "pipe.jpg")
    (item,) = open_sources("pipe.jpg").items()
    with pytest.raises(ItemError, match="not a regular file"):
        item.read(LIMIT)


def test_a_file_larger_than_any_image_is_not_read(here):
    with (here / "huge.jpg").open("wb") as file:
        file.truncate(1 << 40)
    (item,) = open_sources("huge.jpg").items()
    with pytest.raises(ItemError, match="more than the limit"):
        item.read(LIMIT)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (1.5, 1_500_000_000), (-1.5, -1_500_000_000), (float("inf"), 0), (float("nan"), 0),
        (253402300800.0, 0), (-1e300, 0),
    ],
)  # fmt: skip
def test_a_time_that_does_not_fit_into_a_stamp_is_none(seconds, expected):
    assert nanoseconds(seconds) == expected


def test_a_file_of_a_year_beyond_2262_has_a_stamp_that_can_be_written(here):
    (here / "x.jpg").write_bytes(b"x")
    os.utime(here / "x.jpg", (20_000_000_000, 20_000_000_000))
    if (here / "x.jpg").stat().st_mtime < 20_000_000_000:
        pytest.skip("this filesystem keeps no such times")
    stamp = FileItem("x.jpg").stamp()
    assert stamp == (1, 0)
    assert FileItem("x.jpg").read(LIMIT)[1] == stamp
