"""Tables of images: Parquet, Arrow files and Arrow streams."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mobilenet_hub.errors import ItemError, SourceError
from mobilenet_hub.pipeline.sources.items import BrokenItem
from mobilenet_hub.pipeline.sources.resolve import open_sources, open_words
from mobilenet_hub.pipeline.sources.source import SourceOptions
from source_support import LIMIT, contents, ids


def test_a_parquet_column_of_images_is_a_source(here):
    table = pa.table({"id": ["x", "y", None], "image": [b"1", None, b"3"]})
    pq.write_table(table, here / "t.parquet")
    items = list(open_sources("t.parquet").items())
    assert [item.id for item in items] == ["x", "y", "t.parquet#2"]
    assert [items[0].read(LIMIT)[0], items[2].read(LIMIT)[0]] == [b"1", b"3"]
    with pytest.raises(ItemError, match="empty cell"):
        items[1].read(LIMIT)
    assert open_sources("t.parquet").count() == 3


def test_hugging_face_images_are_read_from_their_struct(here):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": b"1", "path": "one.jpg"}, {"bytes": None, "path": "two.jpg"}]
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), here / "t.parquet")
    (here / "two.jpg").write_bytes(b"2")
    assert contents("t.parquet") == {"t.parquet#one.jpg": b"1", "t.parquet#two.jpg": b"2"}


@pytest.mark.parametrize("stream", [True, False])
def test_arrow_files_and_streams_of_images_are_sources(here, stream):
    table = pa.table({"jpg": [b"1", b"2"], "thumb": [b"", b""], "__key__": ["a", "b"]})
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with make(str(here / "t.arrow"), table.schema) as writer:
        writer.write_table(table)
    assert contents("t.arrow") == {"a": b"1", "b": b"2"}
    assert set(contents("t.arrow", image_column="thumb").values()) == {b""}


def test_a_file_that_is_no_table_is_refused(here):
    (here / "t.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(SourceError, match="not a readable table"):
        open_words(["t.parquet"])


def test_a_table_that_breaks_off_keeps_what_came_before(here):
    schema = pa.schema([("image", pa.binary())])
    with pa.ipc.new_stream(str(here / "t.arrow"), schema) as writer:
        for value in (b"1", b"2"):
            writer.write_batch(pa.record_batch([pa.array([value * 300])], schema=schema))
    data = (here / "t.arrow").read_bytes()
    (here / "t.arrow").write_bytes(data[: len(data) - 200])
    first, *others = open_sources("t.arrow").items()
    assert first.read(LIMIT)[0] == b"1" * 300
    assert [type(item) for item in others] == [BrokenItem]
    assert "after row 1" in others[0].reason


@pytest.mark.parametrize(
    "kind", [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(3), "dictionary"]
)
def test_images_are_read_from_every_kind_of_bytes(here, kind):
    values = [b"one", b"two", b"one"]
    column = (
        pa.array(values).dictionary_encode() if kind == "dictionary" else pa.array(values, kind)
    )
    with pa.ipc.new_file(here / "t.arrow", pa.schema([("image", column.type)])) as writer:
        writer.write_batch(pa.record_batch({"image": column}))
    assert list(contents("t.arrow").values()) == values


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), "dictionary", pa.binary()])
def test_paths_are_read_from_every_kind_of_text(here, kind):
    values = ["a.jpg", None, "b.jpg"]
    texts = [value and value.encode() for value in values] if kind == pa.binary() else values
    column = pa.array(texts).dictionary_encode() if kind == "dictionary" else pa.array(texts, kind)
    with pa.ipc.new_file(here / "t.arrow", pa.schema([("path", column.type)])) as writer:
        writer.write_batch(pa.record_batch({"path": column}))
    assert ids("t.arrow", path_column="path") == ["a.jpg", "t.arrow#1", "b.jpg"]


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 2]), pa.array([["a.jpg"], []]), pa.array([{"x": 1}, {"x": 2}]),
        pa.array([1.5, None]), pa.array([True, False]), pa.array([{"bytes": 7}, {"bytes": 8}]),
        pa.array([[1, 2, 3], [4]], pa.list_(pa.uint8())),
    ],
    ids=lambda column: str(column.type),
)  # fmt: skip
@pytest.mark.parametrize("name", ["path", "image"])
def test_a_column_of_something_else_is_refused_by_its_kind(here, column, name, kind):
    table = pa.table({name: column, "id": ["a", "b"]})
    if kind == "parquet":
        pq.write_table(table, here / "t.parquet")
    else:
        with pa.ipc.new_file(here / "t.arrow", table.schema) as writer:
            writer.write_table(table)
    for options in (SourceOptions(), SourceOptions(path_column=name)):
        with pytest.raises(SourceError, match=rf"holds text. Received: '{name}', "):
            open_words([f"t.{kind}"], options)
    with pytest.raises(SourceError, match=r"an image column holds bytes"):
        open_words([f"t.{kind}"], SourceOptions(image_column=name))


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize("names", [["image", "image"], ["path", "path"], ["image", "id", "id"]])
def test_two_columns_of_one_name_are_refused(here, names, kind):
    columns = [pa.array([b"1" if name == "image" else "a"]) for name in names]
    table = pa.Table.from_arrays(columns, names)
    if kind == "parquet":
        pq.write_table(table, here / "t.parquet")
    else:
        with pa.ipc.new_file(here / "t.arrow", table.schema) as writer:
            writer.write_table(table)
    with pytest.raises(SourceError, match=f"2 columns of one name.*Received: '{names[-1]}'"):
        open_words([f"t.{kind}"])


def test_ids_of_any_kind_are_ids(here):
    kinds = [pa.array([1, 2]), pa.array([["x"], None]), pa.array([b"a\xff", b"b"])]
    expected = [["1", "2"], ["['x']", "t.parquet#1"], ["a\\xff", "b"]]
    for column, wanted in zip(kinds, expected, strict=True):
        pq.write_table(pa.table({"image": [b"1", b"2"], "key": column}), here / "t.parquet")
        assert ids("t.parquet", image_column="image") == wanted


def test_text_that_is_not_utf8_ends_a_table_with_a_failure(here):
    bad = pa.StringArray.from_buffers(
        1, pa.array([0, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xfe")
    )
    pq.write_table(pa.table({"path": bad}), here / "t.parquet")
    (item,) = open_sources("t.parquet").items()
    with pytest.raises(ItemError, match="after row 0"):
        item.read(LIMIT)
