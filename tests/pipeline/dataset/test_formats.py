"""Every format holds every row, and is read back."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataset_support import FILES, assert_rows, errors, expected, read, write
from mobilenet_hub.errors import DatasetError
from mobilenet_hub.pipeline.dataset.formats import read_rows


@pytest.mark.parametrize("output", FILES)
def test_every_output_holds_every_row_exactly(folder, module, output):
    (folder / "photos" / "0003.jpg").write_bytes(b"no image")
    summary = write(folder / output, module)
    assert_rows(read(folder / output), expected(module))
    assert (summary.counts.done, summary.counts.failed, summary.rows) == (9, 1, 9)
    (line,) = errors(summary.errors)
    assert (line["id"], line["stage"]) == ("photos/0003.jpg", "decode")
    assert "not a JPEG" in line["reason"]


@pytest.mark.parametrize("output", ["out", "out.parquet", "out.npy", "out.csv"])
def test_float16_halves_the_vectors(folder, module, output):
    write(folder / output, module, dtype="float16")
    for identity, embedding in expected(module).items():
        np.testing.assert_allclose(read(folder / output)[identity], embedding, rtol=1e-3, atol=1e-4)
    if output == "out.npy":
        assert np.load(folder / output).dtype == np.float16
    if output == "out":
        kind = pq.read_schema(folder / "out" / "part-00000.parquet").field("embedding").type
        assert kind == pa.list_(pa.float16(), 256)


def test_a_npy_file_is_an_array_and_a_text_file_of_ids(folder, module):
    write(folder / "out.npy", module)
    ids = (folder / "out.ids.txt").read_text().splitlines()
    assert ids == list(expected(module))
    assert np.load(folder / "out.npy").shape == (10, 256)


@pytest.mark.parametrize("output", [b"out\xff", b"out\xff.parquet", b"out\xff.npy", b"out\xff.csv"])
def test_names_that_are_not_utf_8_are_outputs_like_any_other(folder, module, output):
    path = folder / os.fsdecode(output)
    for _ in range(2):
        assert write(path, module).rows == 10
    assert_rows(read(path), expected(module))


def test_what_holds_no_embeddings_is_refused(folder):
    (folder / "empty").mkdir()
    (folder / "text.csv").write_text("a,b\n1,2\n")
    np.save(folder / "cube.npy", np.zeros((2, 2, 2)))
    pq.write_table(pa.table({"x": [1]}), folder / "other.parquet")
    for name in ("empty", "text.csv", "cube.npy", "other.parquet", "nowhere.parquet"):
        with pytest.raises(DatasetError, match="expected a dataset of embeddings"):
            list(read_rows(folder / name, ["id", "embedding"]))
