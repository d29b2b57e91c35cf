"""What each photo that a classifier was made with was used for."""

from __future__ import annotations

import hashlib
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mobilenet_hub as hub
from classes import write_classes
from classifier_support import random_classifier
from mobilenet_hub.errors import DatasetError
from mobilenet_hub.evaluation.split_file import read_split, split_beside
from mobilenet_hub.settings import ClassifierSettings


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A classifier, and photos: of each class 0 to 4 for training, 5 to choose, 6 to test with."""
    monkeypatch.chdir(tmp_path)
    write_classes(tmp_path / "photos", 8)
    (tmp_path / "own").mkdir()
    random_classifier(ClassifierSettings(("green", "red"))).save("own/model.safetensors")
    rows = {"sha256": [], "side": []}
    for path in sorted(tmp_path.glob("photos/*/[0-6].png")):
        number = int(path.stem)
        rows["sha256"].append(hashlib.sha256(path.read_bytes()).hexdigest())
        rows["side"].append("train" if number < 5 else "val" if number == 5 else "test")
    rows["sha256"].append("00" * 32)
    rows["side"].append(None)
    pq.write_table(pa.table(rows), "own/split.parquet")
    return tmp_path


@pytest.mark.parametrize("module", ["own", "own/model.safetensors"])
def test_photos_that_a_classifier_was_made_with_are_not_in_the_headline(folder, module):
    result = hub.evaluate("photos", module)
    assert [each.photos for each in result.metrics] == [4, 16]  # of each class 6 and 7
    assert [each.name for each in result.evaluations] == ["photos it never saw", "photos given"]
    assert {item.id[-5:] for item in result.evaluations[0].predictions.items} == {"6.png", "7.png"}
    (note,) = result.notes
    assert "trained on 10 of these photos, and 2 decided how" in note
    assert "the headline is of the others" in note


def test_copies_under_another_name_are_recognised_and_only_seen_photos_are_said_so(folder):
    for name in ("green", "red"):
        (folder / "new" / name).mkdir(parents=True)
        shutil.copy(folder / f"photos/{name}/1.png", folder / f"new/{name}/else.png")
    result = hub.evaluate("new", "own")
    assert [each.name for each in result.evaluations] == ["photos given"]
    assert "there are no others" in result.notes[0]


def test_photos_that_nothing_saw_need_no_word(folder):
    for name in ("green", "red"):
        for number in range(6):
            (folder / f"photos/{name}/{number}.png").unlink()
    result = hub.evaluate("photos", "own")
    assert (len(result.evaluations), result.notes) == (1, ())


def test_where_no_split_is_nothing_is_known(folder):
    assert split_beside("own") == split_beside("own/model.safetensors")
    assert split_beside("google/imagenet/mobilenet_v2_140_224/classification") is None
    assert split_beside(hub.find("google/imagenet/mobilenet_v2_140_224/classification")) is None
    (folder / "own" / "split.parquet").unlink()
    assert split_beside("own") is None
    assert hub.evaluate("photos", "own").metrics[0].photos == 16


def test_a_damaged_split_is_an_error(folder):
    split = folder / "own" / "split.parquet"
    table = pq.read_table(split)
    for damage in (
        lambda: split.write_bytes(split.read_bytes()[:-9]),
        lambda: split.write_bytes(b""),
        lambda: pq.write_table(table.drop_columns("side"), split),
        lambda: pq.write_table(table.set_column(1, "side", pa.array(["x"] * len(table))), split),
        lambda: pq.write_table(table.set_column(0, "sha256", pa.array(["x"] * len(table))), split),
    ):
        damage()
        with pytest.raises(DatasetError, match="damaged"):
            read_split(split)
        with pytest.raises(DatasetError, match="damaged"):
            hub.evaluate("photos", "own")
