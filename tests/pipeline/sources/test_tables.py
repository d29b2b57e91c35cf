"""Tables of images: Parquet, Arrow files and Arrow streams."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mobilenet_hub.errors import ItemError, SourceError
from mobilenet_hub.pipeline.sources.items import BrokenItem
from mobilenet_hub.pipeline.sources.resolve import open_sources, open_words
from source_support import LIMIT, contents


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
