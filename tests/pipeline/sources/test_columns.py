"""Columns are found by their names, and asked for where these say nothing."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mobilenet_hub.errors import SourceError
from mobilenet_hub.pipeline.sources.resolve import open_words
from mobilenet_hub.pipeline.sources.source import SourceOptions


@pytest.mark.parametrize("header", ["one,two", "", "photo"])
def test_a_table_without_a_column_of_paths_says_which_it_has(here, header):
    (here / "list.csv").write_text(f"{header}\na,b\n")
    with pytest.raises(SourceError, match="Received"):
        open_words(["list.csv"])


def test_a_table_with_several_columns_of_bytes_asks_which(here):
    pq.write_table(pa.table({"one": [b"1"], "two": [b"2"]}), here / "t.parquet")
    with pytest.raises(SourceError, match=r"--image-column.*Received: one, two"):
        open_words(["t.parquet"])
    with pytest.raises(SourceError, match="no column 'three'"):
        open_words(["t.parquet"], SourceOptions(image_column="three"))


@pytest.mark.parametrize("header", ["x" * 100_000, ",".join(["column"] * 10_000)])
def test_of_a_file_that_is_no_table_an_error_repeats_little(here, header):
    (here / "list.csv").write_text(f"{header}\na\n")
    for options in (SourceOptions(), SourceOptions(path_column="photo")):
        with pytest.raises(SourceError) as refused:
            open_words(["list.csv"], options)
        assert len(str(refused.value)) < 500
