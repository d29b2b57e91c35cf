"""Pages of similar images."""

from __future__ import annotations

import io
import os
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenet_hub.errors import InputError
from mobilenet_hub.pipeline.sources.items import path_id
from mobilenet_hub.search.sheet import Picture, path_of, write_sheet
from pages import Page
from pictures import encoded, write_pictures


def test_a_page_is_whole_and_small_in_itself(folder):
    (folder / "big.jpg").write_bytes(encoded(1, size=(2000, 1000)))
    write_sheet("page.html", "Title", "Why", [[Picture("big.jpg", "query")]])
    page = Page("page.html")
    assert page.images[0].size == (176, 88)
    assert (folder / "page.html").stat().st_size < 30_000
    assert "Title" in page.text
    assert "Why" in page.text


def test_pictures_link_to_their_files_and_what_all_names_share_is_said_once(folder):
    names = ["photos/summer/a b.jpg", "photos/summer/javascript:x.jpg", "photos/winter/c.jpg"]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(1))
    (folder / "pages").mkdir()
    write_sheet("pages/page.html", "", "Why.", [[Picture(name, "n") for name in names]])
    page = Page("pages/page.html")
    assert page.links == [
        "../photos/summer/a%20b.jpg",
        "../photos/summer/javascript%3Ax.jpg",
        "../photos/winter/c.jpg",
    ]
    assert page.text.count("photos/") == 1
    assert "Why. All are below photos/" in page.text
    assert "summer/a b.jpg" in page.text
    write_sheet("page.html", "", "", [[Picture("a.jpg", ""), Picture("photos/b.jpg", "")]])
    assert "below" not in Page("page.html").text


def test_a_page_replaces_a_page_and_nothing_else(folder):
    write_pictures(folder, 1)
    photo = (folder / "0000.jpg").read_bytes()
    with pytest.raises(InputError, match=r"holds something else.*0000\.jpg"):
        write_sheet("0000.jpg", "", "", [])
    assert (folder / "0000.jpg").read_bytes() == photo
    for title in ("first", "second"):
        write_sheet("page.html", title, "", [])
    assert "second" in Page("page.html").text


def test_hostile_names_are_shown_not_run(folder):
    name = '<script>alert("x")</script>.jpg'
    write_sheet("page.html", name, name, [[Picture(name, name)]])
    page = Page("page.html")
    assert "script" not in page.tags
    assert page.text.count(name) >= 4


def test_what_is_not_there_or_no_image_leaves_a_gap(folder):
    (folder / "bad.jpg").write_bytes(b"no image")
    sections = [[Picture("bad.jpg", "a"), Picture("gone.jpg", "b"), Picture("t.parquet#3", "c")]]
    write_sheet("page.html", "", "", sections)
    page = Page("page.html")
    assert page.images == []
    assert page.text.count("no picture here") == 3


def test_pictures_are_found_in_folders_and_archives(folder):
    (folder / "below").mkdir()
    name = os.fsdecode(b"odd \xff.jpg")
    (folder / "below" / name).write_bytes(encoded(1))
    with tarfile.open(folder / "below" / "s.tar", "w") as tar:
        info = tarfile.TarInfo("in/side.jpg")
        info.size = len(encoded(2))
        tar.addfile(info, io.BytesIO(encoded(2)))
    sections = [[Picture(path_id(name), ""), Picture("s.tar/in/side.jpg", "")]]
    write_sheet("page.html", "", "", sections, root=str(folder / "below"))
    assert len(Page("page.html").images) == 2


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name))
def test_an_id_leads_back_to_its_path(name):
    path = os.fsdecode(name)
    assert path_of(path_id(path)) == path
