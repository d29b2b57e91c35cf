"""The columns of a part."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

import mobilenet_hub as hub
from dataset_support import assert_rows, expected, read, write
from mobilenet_hub.pipeline.dataset.formats import read_rows
from pictures import SMALL_CLASSIFIER, write_pictures


def test_pyarrow_and_pandas_read_the_folder_as_it_is(folder, module):
    (folder / "photos" / "0003.jpg").write_bytes(b"no image")
    write(folder / "out", module)
    assert pq.read_table(folder / "out").num_rows == 9
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(folder / "out")
    assert list(frame.columns) == ["id", "embedding"]
    assert np.stack(frame["embedding"]).shape == (9, 256)


@pytest.mark.parametrize("output", ["out", "out.parquet"])
def test_rows_may_carry_labels_sizes_and_hashes(folder, output):
    classifier = hub.Module(SMALL_CLASSIFIER)
    write(folder / output, classifier, labels=2, dimensions=True, content_hash=True)
    row = next(read_rows(folder / output)).to_pylist()[0]
    assert (row["id"], row["width"], row["height"]) == ("photos/0000.jpg", 48, 40)
    names = hub.imagenet_labels()
    assert [names[index] for index in row["label_indices"]] == row["labels"]
    assert row["scores"][0] > row["scores"][1] > 0
    assert len(row["sha256"]) == 64


def test_parts_beyond_99999_follow_those_below(folder, module):
    write(folder / "out", module)
    for place in ("out", "out/_manifest"):
        for at in (0, 1, 2):
            path = folder / place / f"part-{at:05d}.parquet"
            path.rename(path.with_name(f"part-{99_998 + at}.parquet"))
    write_pictures(folder / "photos", 1, start=50)
    assert write(folder / "out", module).counts.done == 1
    assert_rows(read(folder / "out"), expected(module))
    names = sorted(path.name for path in (folder / "out").glob("part-1*"))
    assert names == ["part-100000.parquet", "part-100001.parquet"]
