"""Folders and globs: everything below them, once, in the order of the names."""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path

import pytest

from mobilenet_hub.errors import ItemError
from mobilenet_hub.pipeline.sources import folders
from mobilenet_hub.pipeline.sources.resolve import open_sources
from mobilenet_hub.pipeline.sources.source import SourceOptions
from pictures import write_pictures
from source_support import LIMIT, ids


def test_a_folder_yields_its_images_at_any_depth_by_name(here):
    for name in ("b/2.JPG", "b/1.png", "a.jpg", "b.jpeg", "notes.txt", "b/c/x.webp"):
        path = here / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    names = ["a.jpg", "b.jpeg", "b/1.png", "b/2.JPG", "b/c/x.webp"]
    found = [f"photos/{name}" for name in names]
    assert ids("photos") == found
    assert ids("./photos//") == found
    assert ids("photos", all_files=True) == [*found, "photos/notes.txt"]
    assert open_sources("photos").count() == 5


def test_the_current_folder_adds_nothing_to_names(here):
    write_pictures(here, 2)
    assert ids(".") == ["0000.jpg", "0001.jpg"]


def test_linked_folders_are_entered_only_when_asked_and_each_folder_once(here):
    write_pictures(here / "photos", 1)
    (here / "elsewhere").mkdir()
    write_pictures(here / "elsewhere", 1, start=7)
    (here / "photos" / "link").symlink_to(here / "elsewhere")
    (here / "photos" / "link2").symlink_to(here / "elsewhere")
    (here / "photos" / "loop").symlink_to(here / "photos")
    assert ids("photos") == ["photos/0000.jpg"]
    assert ids("photos", follow_links=True) == ["photos/0000.jpg", "photos/link/0007.jpg"]


def test_folders_that_link_to_each_other_crosswise_are_walked_once_each(here):
    """Thirty floors of two links each to the floor below: a thousand million paths."""
    floors = [here / f"floor{index:02d}" for index in range(30)]
    for floor, below in itertools.pairwise(floors):
        floor.mkdir()
        (floor / "a").symlink_to(below)
        (floor / "b").symlink_to(below)
    write_pictures(floors[-1], 1)
    found = ids("floor00", follow_links=True)
    assert found == ["floor00/" + "a/" * 29 + "0000.jpg"]
    assert open_sources("floor00", SourceOptions(follow_links=True)).count() == 1


def test_folders_may_be_nested_as_deep_as_a_path_is_long(here):
    folder = here / "photos"
    folder.mkdir()
    os.chdir(folder)
    for _ in range(1500):
        os.mkdir("d")  # noqa: PTH102
        os.chdir("d")
    Path("x.jpg").write_bytes(b"")
    os.chdir(here)
    try:
        assert ids("photos") == ["photos/" + "d/" * 1500 + "x.jpg"]
        assert open_sources("photos").count() == 1
    finally:  # the temporary folder's own removal recurses
        subprocess.run(["rm", "-rf", "photos"], check=True)


def test_a_folder_that_cannot_be_listed_is_a_failure_and_not_an_end(here, monkeypatch):
    write_pictures(here / "photos" / "a", 1)
    write_pictures(here / "photos" / "b", 1)
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("a"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(folders.os, "scandir", refusing)
    items = list(open_sources("photos").items())
    assert [item.id for item in items] == ["photos/a", "photos/b/0000.jpg"]
    with pytest.raises(ItemError) as caught:
        items[0].read(LIMIT)
    assert (caught.value.stage, caught.value.reason) == ("list", "Permission denied")


def test_a_glob_yields_what_it_matches_in_order_and_folders_as_folders(here):
    write_pictures(here / "photos" / "sub", 1)
    write_pictures(here / "photos", 3)
    assert ids("photos/*") == [f"photos/000{i}.jpg" for i in range(3)] + ["photos/sub/0000.jpg"]
    assert ids("photos/*[12].jpg") == ["photos/0001.jpg", "photos/0002.jpg"]
    assert open_sources("photos/*").count() == 4
