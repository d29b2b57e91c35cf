"""Lists of paths, as text and as comma-separated tables."""

from __future__ import annotations

import codecs
import csv
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mobilenet_hub.errors import ItemError, SourceError
from mobilenet_hub.pipeline.sources.items import BrokenItem
from mobilenet_hub.pipeline.sources.resolve import open_sources, open_words
from pictures import encoded, write_pictures
from source_support import LIMIT, contents, ids


def test_a_listed_file_that_is_not_there_fails_for_itself(here):
    (here / "list.txt").write_text("nowhere.jpg\n")
    (item,) = open_sources("list.txt").items()
    with pytest.raises(FileNotFoundError):
        item.read(LIMIT)
    (item,) = open_sources(["nowhere.jpg"]).items()
    with pytest.raises(FileNotFoundError):
        item.read(LIMIT)


@pytest.mark.parametrize(
    "text", [b"a.jpg\nb c.jpg\n", b"a.jpg\r\n\r\nb c.jpg", b"a.jpg\0b c.jpg\0"]
)
def test_a_text_file_lists_paths(here, text):
    (here / "list.txt").write_bytes(text)
    assert ids("list.txt") == ["a.jpg", "b c.jpg"]
    assert open_sources("list.txt").count() == 2


def test_a_list_separated_by_nul_may_name_paths_with_line_breaks_and_any_bytes(here):
    name = os.fsdecode(b"line\nbreak \xff.jpg")
    (here / name).write_bytes(b"pixels")
    (here / "list.txt").write_bytes(os.fsencode(name) + b"\0")
    assert contents("list.txt") == {r"line\x0abreak \xff.jpg": b"pixels"}


def test_a_binary_file_named_like_a_list_is_a_failure_not_a_flood(here):
    (here / "list.txt").write_bytes(b"x" * 10_000_000)
    (item,) = open_sources("list.txt").items()
    assert isinstance(item, BrokenItem)
    assert "not a list of paths" in item.reason


def test_tables_list_paths_and_ids(here):
    with (here / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["id", "label", "file_name"], ["x", "cat", "a.jpg"], ["y", "", ""]]
        )
    pq.write_table(pa.table({"Path": ["a.jpg", None]}), here / "list.parquet")
    items = list(open_sources("list.csv").items())
    assert [(item.id, item.path) for item in items] == [("x", "a.jpg"), ("list.csv#3", "list.csv")]
    items = list(open_sources("list.parquet").items())
    assert [item.id for item in items] == ["a.jpg", "list.parquet#1"]
    assert ids("list.csv", path_column="label", id_column="file_name")[0] == "a.jpg"
    assert open_sources("list.csv").count() == 2


def test_paths_in_lists_may_be_relative_to_another_folder(here):
    write_pictures(here / "photos", 1)
    (here / "list.txt").write_text("0000.jpg\n")
    root = str(here / "photos")
    assert contents("list.txt", root=root) == {f"{root}/0000.jpg": encoded(0)}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\0"])
def test_a_list_may_begin_with_a_byte_order_mark(here, encoding, end):
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""
    (here / "list.txt").write_bytes(mark + end.join(["a.jpg", "ü b.jpg", ""]).encode(encoding))
    assert ids("list.txt") == ["a.jpg", "ü b.jpg"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_a_table_may_begin_with_a_byte_order_mark(here, encoding):
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""
    text = "path\tlabel\r\nü.jpg\tcat\r\n"
    (here / "list.tsv").write_bytes(mark + text.encode(encoding))
    assert ids("list.tsv") == ["ü.jpg"]


@pytest.mark.parametrize("at", ["header", "row"])
def test_a_field_may_be_as_long_as_a_thumbnail(here, at):
    long = "x" * 500_000
    header, row = (
        ("path,thumbnail", f"a.jpg,{long}") if at == "row" else (f"path,{long}", "a.jpg,x")
    )
    (here / "list.csv").write_text(f"{header}\n{row}\nb.jpg,\n")
    assert ids("list.csv") == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_line_without_an_end_is_a_failure_not_a_flood(here, quote):
    (here / "list.csv").write_text("path,x\na.jpg,1\n" + quote + "y" * (40 << 20))
    first, second = open_sources("list.csv").items()
    assert first.id == "a.jpg"
    with pytest.raises(ItemError, match=r"after row 2: (a line|field) .*"):
        second.read(LIMIT)
    (here / "list.csv").write_text("y" * (40 << 20))
    with pytest.raises(SourceError, match="a line of more than"):
        open_words(["list.csv"])


def test_paths_relative_to_the_list_are_found_where_there_are_none_here(here):
    write_pictures(here / "photos", 2)
    for name, text in {"l.txt": "0000.jpg\n", "l.csv": "path\n0001.jpg\n"}.items():
        (here / "photos" / name).write_text(text)
    pq.write_table(pa.table({"path": ["0000.jpg"]}), here / "photos" / "l.parquet")
    assert contents("photos/l.txt") == {"photos/0000.jpg": encoded(0)}
    assert contents("photos/l.csv") == {"photos/0001.jpg": encoded(1)}
    assert contents("photos/l.parquet") == {"photos/0000.jpg": encoded(0)}
    (here / "0000.jpg").write_bytes(b"here")
    assert contents("photos/l.txt") == {"0000.jpg": b"here"}


def test_a_list_that_goes_away_is_a_failure(here):
    (here / "list.txt").write_text("a.jpg\n")
    source = open_sources("list.txt")
    (here / "list.txt").unlink()
    (item,) = source.items()
    with pytest.raises(ItemError, match="No such file"):
        item.read(LIMIT)
