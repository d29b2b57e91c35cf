"""Folders named by class."""

from __future__ import annotations

import os
import tarfile

import pytest

from mobilenet_hub.errors import InputError, SourceError
from mobilenet_hub.evaluation.folders import ClassFolders
from mobilenet_hub.labels import imagenet_labels
from mobilenet_hub.pipeline.sources.source import SourceOptions


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def add(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def classes(words, labels, options=None):
    folders = ClassFolders(words, labels, options)
    folders.check()
    return [(item.id, number) for item, (number,) in folders.items()]


def test_own_classes_are_named_by_label_however_deep_the_photos_lie(folder):
    add(folder, "val/bee/b.jpg", "val/ant/more/still/a.jpg", "val/ant/notes.txt")
    expected = [("val/ant/more/still/a.jpg", 0), ("val/bee/b.jpg", 1)]
    assert classes(["val"], ("ant", "bee")) == expected
    assert classes(["./val//"], ("ant", "bee")) == expected
    assert classes([folder / "val"], ("ant", "bee"))[1] == (f"{folder}/val/bee/b.jpg", 1)
    folders = ClassFolders(["val"], ("ant", "bee"))
    folders.check()
    assert folders.passed_over == {".txt": 1}


def test_class_folders_may_be_given_themselves_and_the_current_one_too(folder, monkeypatch):
    add(folder, "val/bee/b.jpg", "val/ant/a.jpg")
    assert classes(["val/bee", "val/ant"], ("ant", "bee")) == [
        ("val/bee/b.jpg", 1),
        ("val/ant/a.jpg", 0),
    ]
    monkeypatch.chdir(folder / "val" / "bee")
    assert classes(["."], ("ant", "bee")) == [("b.jpg", 1)]


def test_imagenet_is_named_by_wordnet_id_label_or_index(folder):
    add(
        folder, "v/n01440764/a.jpg", "v/Great_White_Shark/b.jpg", "v/goldfish/c.jpg", "v/4/d.jpg",
        "v/n02012849/e.jpg",
    )  # fmt: skip
    found = dict(classes(["v"], imagenet_labels()))
    assert found == {
        "v/4/d.jpg": 4, "v/goldfish/c.jpg": 2, "v/Great_White_Shark/b.jpg": 3,
        "v/n01440764/a.jpg": 1, "v/n02012849/e.jpg": 135,
    }  # fmt: skip
    assert imagenet_labels()[135] == "crane"


def test_a_name_of_several_classes_is_refused_with_their_ids(folder):
    add(folder, "v/crane/a.jpg")
    with pytest.raises(InputError, match=r"use the id of one: 'n02012849', 'n03126707'.*'crane'"):
        classes(["v"], imagenet_labels())


def test_folders_that_name_no_class_are_all_listed_with_what_was_expected(folder):
    add(folder, "v/ant/a.jpg", "v/wasp/b.jpg", "v/fly/c.jpg", "v/d.jpg")
    with pytest.raises(InputError) as caught:
        classes(["v"], ("ant", "bee"))
    assert str(caught.value) == (
        "expected folders named by class: 'ant', 'bee'. Received: 'fly', 'v', 'wasp'"
    )
    add(folder, "i/goldfisch/a.jpg")
    with pytest.raises(InputError, match=r"WordNet id .*'goldfish'.* and 9\d\d more.*'goldfisch'"):
        classes(["i"], imagenet_labels())


def test_hidden_folders_beside_the_classes_are_passed_over(folder):
    add(folder, "v/ant/a.jpg", "v/.ipynb_checkpoints/a-checkpoint.jpg", "v/.trash/old/b.jpg")
    assert classes(["v"], ("ant", "bee")) == [("v/ant/a.jpg", 0)]


def test_a_folder_above_what_was_given_names_nothing(folder):
    add(folder, "ant/val/wasp/a.jpg")
    with pytest.raises(InputError, match="Received: 'wasp'"):
        classes(["ant/val"], ("ant", "bee"))


def test_lists_and_archives_are_of_the_folder_around_each_photo(folder):
    add(folder, "ant/a.jpg", "bee/b.jpg")
    (folder / "list.txt").write_text("ant/a.jpg\nbee/b.jpg\n")
    with tarfile.open("photos.tar", "w") as tar:
        tar.add("bee/b.jpg", "deep/bee/b.jpg")
    assert classes(["list.txt", "photos.tar"], ("ant", "bee")) == [
        ("ant/a.jpg", 0), ("bee/b.jpg", 1), ("photos.tar/deep/bee/b.jpg", 1),
    ]  # fmt: skip


def test_names_that_are_not_utf_8_and_odd_labels_are_found(folder):
    name = os.fsdecode(b"f\xffo")
    add(folder, f"v/{name}/a.jpg", "v/a\\x41/b.jpg")
    assert [number for _, number in classes(["v"], (name, "a\\x41"))] == [1, 0]


def test_what_a_source_cannot_yield_fails_as_a_photo_and_is_no_unknown_folder(folder):
    add(folder, "ant/a.jpg")
    (folder / "list.txt").write_text("ant/a.jpg\n" + "x" * 100_000)
    (_, number), (broken, _) = classes(["list.txt"], ("ant", "bee"))
    assert (number, broken) == (0, "list.txt")


def test_standard_input_and_what_is_not_there_are_refused(folder):
    with pytest.raises(InputError, match="give a path"):
        ClassFolders(["-"], ("ant", "bee"))
    with pytest.raises(SourceError):
        ClassFolders(["nowhere"], ("ant", "bee"))
    assert classes([], ("ant",), SourceOptions()) == []
