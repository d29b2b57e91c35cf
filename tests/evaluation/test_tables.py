"""Tables of photos and labels, as what a classifier is measured on."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mobilenet_hub.errors import InputError, SourceError
from mobilenet_hub.evaluation.tables import ClassTable, DataOptions, has_labels
from mobilenet_hub.labels import imagenet_labels

LABELS = ("red", "round", "great white")


def classes(path, labels=LABELS, options=None, *, several=True):
    table = ClassTable(path, labels, options or DataOptions(), several=several)
    table.check()
    return [(item.id, numbers) for item, numbers in table.items()]


@pytest.fixture
def table(tmp_path):
    return tmp_path / "t.csv"


def test_a_cell_holds_one_label_several_or_none(table):
    table.write_text("path,labels\n1.jpg,Red|round\n2.jpg,\nin/3.jpg,Great_White\n")
    assert classes(table) == [("1.jpg", (0, 1)), ("2.jpg", ()), ("in/3.jpg", (2,))]
    table.write_text("file\tclass\n1.jpg\tred;round\n")
    tsv = table.rename(table.with_suffix(".tsv"))
    assert classes(tsv, options=DataOptions(label_separator=";")) == [("1.jpg", (0, 1))]


def test_a_parquet_column_of_lists_and_an_id_column_are_read(tmp_path):
    columns = {"path": ["1.jpg", "2.jpg"], "tags": [["red", "round"], []], "name": ["a", "b"]}
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(columns), path)
    options = DataOptions(label_column="tags", id_column="name")
    assert classes(path, options=options) == [("a", (0, 1)), ("b", ())]


def test_imagenet_is_named_by_wordnet_id_label_or_index(table):
    table.write_text("path,label\n1.jpg,n01440764\n2.jpg,Great_White_Shark\n3.jpg,4\n")
    found = classes(table, imagenet_labels(), several=False)
    assert [numbers for _, numbers in found] == [(1,), (3,), (4,)]


def test_a_table_without_labels_only_names_photos(table):
    table.write_text("path,size\nred/1.jpg,3\n")
    assert not has_labels(table, DataOptions())
    with pytest.raises(SourceError, match="'colour'"):
        has_labels(table, DataOptions(label_column="colour"))


@pytest.mark.parametrize(
    ("text", "several", "message"),
    [
        ("path,label\n1.jpg,blue\n", True, r"expected labels named by class: .*Received: 'blue'"),
        ("path,label\n1.jpg,red|round\n", False, r"one label.*Received: 2 of '1\.jpg'"),
        ("path,label\n1.jpg,\n", False, r"one label.*Received: 0 of '1\.jpg'"),
    ],
)
def test_labels_that_the_classifier_cannot_give_are_refused(table, text, several, message):
    table.write_text(text)
    with pytest.raises(InputError, match=message):
        classes(table, several=several)


def test_one_label_a_row_for_a_photo_that_has_several_says_how_to_write_them(table):
    table.write_text("path,label\n1.jpg,red\n1.jpg,round\n")
    with pytest.raises(SourceError, match="several labels go into one row, separated by"):
        classes(table)
