"""Every item once, and each under an id of its own."""

from __future__ import annotations

import io
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mobilenet_hub.errors import ItemError
from mobilenet_hub.pipeline.job import embed_to
from mobilenet_hub.pipeline.selection import Selection
from mobilenet_hub.pipeline.sources.resolve import open_sources
from pictures import SIZE, SMALL, encoded, write_pictures

LIMIT = 1 << 20


def select(source, shard=(0, 1)):
    selection = Selection(open_sources(source), shard, remember=True)
    return selection, {item.id: item.read(LIMIT)[0] for item in selection}


def test_rows_of_one_name_and_different_bytes_are_all_kept(tmp_path):
    table = pa.table({"id": ["a", "b", "a", "a", "a#2"], "image": [b"1", b"2", b"3", b"1", b"4"]})
    pq.write_table(table, tmp_path / "t.parquet")
    selection, found = select(tmp_path / "t.parquet")
    assert found == {"a": b"1", "b": b"2", "a#2": b"3", "a#2#2": b"4"}
    assert (selection.duplicates, selection.renamed) == (1, 2)


def test_members_of_one_name_are_all_kept(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for data in (b"1", b"2", b"3"):
            info = tarfile.TarInfo("x.jpg")
            info.size = 1
            tar.addfile(info, io.BytesIO(data))
    _, found = select(tmp_path / "s.tar")
    name = str(tmp_path / "s.tar/x.jpg")
    assert found == {name: b"1", f"{name}#2": b"2", f"{name}#3": b"3"}


def test_lines_of_a_list_that_share_an_id_are_all_kept(tmp_path):
    write_pictures(tmp_path, 3)
    lines = [f"cat,{tmp_path}/{index:04d}.jpg" for index in (0, 1, 2, 1)]
    (tmp_path / "list.csv").write_text("\n".join(["id,path", *lines]))
    selection, found = select(tmp_path / "list.csv")
    assert found == {"cat": encoded(0), "cat#2": encoded(1), "cat#3": encoded(2)}
    assert selection.duplicates == 1


def test_what_is_named_twice_is_left_out_the_second_time(tmp_path):
    write_pictures(tmp_path, 2)
    selection, found = select([tmp_path, tmp_path / "0001.jpg", *tmp_path.glob("*")])
    assert len(found) == 2
    assert (selection.duplicates, selection.renamed) == (3, 0)


def test_an_item_that_cannot_be_renamed_fails_for_a_true_reason():
    class Mine:
        def __init__(self, path):
            self.id, self.path = "mine", path

        def read(self, max_bytes):
            raise AssertionError

    selection = Selection(open_sources([Mine("one"), Mine("two")]), (0, 1), remember=True)
    _, second = selection
    assert second.id == "mine#2"
    with pytest.raises(ItemError, match="another item has the id 'mine'"):
        second.read(LIMIT)


def test_shards_share_the_items_whatever_their_ids(tmp_path):
    pairs = [(f"{index % 7}", bytes([index])) for index in range(40)]
    parts = [select(pairs, (index, 3))[1] for index in range(3)]
    assert sum(map(len, parts)) == 40
    assert set().union(*parts) == set(select(pairs)[1])


def test_a_table_with_repeated_ids_has_a_row_for_each_image_and_for_each_again(tmp_path):
    rows = [encoded(index) for index in (0, 1, 2, 0)]
    pq.write_table(pa.table({"id": ["a"] * 4, "image": rows}), tmp_path / "t.parquet")
    summary = embed_to(tmp_path / "t.parquet", tmp_path / "f.parquet", SMALL, size=SIZE)
    assert (summary.rows, summary.duplicates, summary.renamed) == (3, 1, 2)
    table = pq.read_table(tmp_path / "f.parquet")
    assert table.column("id").to_pylist() == ["a", "a#2", "a#3"]
    assert len(set(map(str, table.column("embedding").to_pylist()))) == 3
    again = embed_to(tmp_path / "t.parquet", tmp_path / "f.parquet", SMALL, size=SIZE)
    assert (again.counts.done, again.counts.skipped) == (0, 3)
