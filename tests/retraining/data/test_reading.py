"""A folder a class, train, val and test folders, tables: which photo has which label."""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mobilenet_hub.errors import InputError, SourceError
from mobilenet_hub.evaluation.tables import DataOptions
from mobilenet_hub.retraining.data.reading import check_classes, read_data


def write(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def named(data):
    return {
        item.id: data.labels[target] for item, target in zip(data.items, data.targets, strict=True)
    }


def test_each_folder_is_a_class_and_photos_may_lie_deeper(tmp_path):
    root = write(tmp_path, "b/2.jpg", "a/1.jpg", "a/deeper/3.png", "a/notes.txt", ".git/x.jpg")
    data = read_data(root)
    assert data.labels == ("a", "b") and data.sides is None
    assert named(data) == {"a/1.jpg": "a", "a/deeper/3.png": "a", "b/2.jpg": "b"}
    assert data.items[0].path == str(root / "a/1.jpg")


def test_train_val_and_test_folders_say_the_sides(tmp_path):
    root = write(tmp_path, "Train/a/1.jpg", "Train/b/1.jpg", "validation/a/1.jpg", "test/b/9.jpg")
    data = read_data(root)
    assert data.labels == ("a", "b")
    sides = dict(zip((item.id for item in data.items), data.sides, strict=True))
    assert sides == {
        "Train/a/1.jpg": "train", "Train/b/1.jpg": "train",
        "test/b/9.jpg": "test", "validation/a/1.jpg": "val",
    }  # fmt: skip


def test_a_class_may_be_called_test_where_there_is_no_train_folder(tmp_path):
    assert read_data(write(tmp_path, "dev/1.jpg", "test/1.jpg")).labels == ("dev", "test")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train/a/1.jpg", "val/a/1.jpg", "cats/1.jpg"], "not both. Received: train and 'cats'"),
        (["train/a/1.jpg", "val/a/1.jpg", "validation/a/1.jpg"], "the same side"),
        (["1.jpg"], "no folders"),
    ],
)
def test_folders_that_can_be_understood_in_two_ways_are_refused(tmp_path, names, message):
    with pytest.raises(SourceError, match=message):
        read_data(write(tmp_path, *names))


def test_names_of_any_bytes_become_labels_that_can_be_shown(tmp_path):
    (tmp_path / "plain").mkdir()
    (tmp_path / os.fsdecode(b"\xff\n<b>")).mkdir()
    assert read_data(tmp_path).labels == ("\\xff\\x0a<b>", "plain")


def test_a_table_names_paths_labels_and_groups(tmp_path):
    write(tmp_path, "1.jpg", "2.jpg")
    table = tmp_path / "t.csv"
    table.write_text("file,class,cow\n1.jpg,milk,7\n2.jpg,bread,\n")
    data = read_data(table, DataOptions(group_column="cow"))
    assert named(data) == {"1.jpg": "milk", "2.jpg": "bread"}
    assert data.groups == ("7", "") and data.items[0].path == str(tmp_path / "1.jpg")


def test_several_labels_in_a_cell_make_it_multi_label(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("path,labels\n1.jpg,red|round\n2.jpg,\n3.jpg,red\n")
    data = read_data(table)
    assert data.multi_label and data.labels == ("red", "round")
    assert data.targets.tolist() == [[True, True], [False, False], [True, False]]


def test_a_parquet_column_of_lists_is_multi_label(tmp_path):
    columns = {"path": ["1.jpg", "2.jpg"], "label": [["a", "b"], []]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert read_data(tmp_path / "t.parquet").targets.tolist() == [[True, True], [False, False]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\n1.jpg,a\n1.jpg,b\n", "listed twice"),
        ("path,label\n1.jpg,\n", "no label"),
        ("path,size\n1.jpg,3\n", "named like labels"),
        ("path,label\n1.jpg\n", "row 2"),
        ("path,label\n" + "x" * (1 << 25), "characters"),
    ],
)
def test_tables_that_do_not_say_what_a_photo_is_are_refused(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(SourceError, match=message):
        read_data(tmp_path / "t.csv")


def test_one_class_and_an_empty_class_are_refused(tmp_path):
    with pytest.raises(InputError, match="at least two classes"):
        check_classes(read_data(write(tmp_path / "one", "a/1.jpg")))
    root = write(tmp_path / "empty", "a/1.jpg", "b/1.jpg")
    (root / "c").mkdir()
    with pytest.raises(InputError, match="no readable photo to train on of: 'c'"):
        check_classes(read_data(root))
    sided = write(tmp_path / "sided", "train/a/1.jpg", "train/b/1.jpg", "val/c/1.jpg")
    with pytest.raises(InputError, match="'c'"):
        check_classes(read_data(sided))


def test_few_photos_and_strong_imbalance_are_warned_of(tmp_path):
    names = [f"many/{number}.jpg" for number in range(40)]
    few, imbalance = check_classes(read_data(write(tmp_path, *names, "few/1.jpg", "few/2.jpg")))
    assert few == "fewer than 10 photos to learn from: 'few' (2)"
    assert imbalance.startswith("strong imbalance: 'many' has 40 photos, 'few' 2")


def test_columns_of_images_and_the_like_are_never_read(tmp_path):
    columns = {
        "image": pa.array([b"x" * 1000] * 2), "path": ["a.jpg", "b.jpg"],
        "more": pa.array([{"bytes": b"y"}] * 2), "visit": [1, 2],
        "label": pa.array(["ant", "bee"]).dictionary_encode(),
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    data = read_data(tmp_path / "t.parquet", DataOptions(group_column="visit"))
    assert (data.labels, data.groups) == (("ant", "bee"), ("1", "2"))
    with pytest.raises(SourceError, match="path, visit, label"):
        read_data(tmp_path / "t.parquet", DataOptions(label_column="image"))
