"""Only what this library wrote is written over."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataset_support import assert_rows, expected, read, write
from mobilenet_hub.errors import InputError


@pytest.mark.parametrize("output", ["out.parquet", "out.npy", "out.csv"])
def test_a_file_of_somebody_else_is_not_overwritten(folder, module, output):
    (folder / output).write_text("precious")
    with pytest.raises(InputError, match=r"not made by this command.*--restart"):
        write(folder / output, module)
    assert (folder / output).read_text() == "precious"
    assert write(folder / output, module, restart=True).rows == 10


def test_ids_of_somebody_else_are_not_overwritten(folder, module):
    (folder / "out.ids.txt").write_text("precious")
    with pytest.raises(InputError, match="not made by this command"):
        write(folder / "out.npy", module)


@pytest.mark.parametrize("output", ["out.parquet", "out.npy", "out.csv"])
def test_a_file_of_somebody_else_in_the_place_of_ours_is_not_overwritten(folder, module, output):
    write(folder / output, module)
    if output == "out.parquet":
        pq.write_table(pa.table({"id": ["other"]}), folder / output)
    elif output == "out.npy":
        np.save(folder / output, np.zeros((10, 3)))
    else:
        (folder / output).write_text("a,b\n1,2\n")
    precious = (folder / output).read_bytes()
    with pytest.raises(InputError, match=r"not written by this command.*--restart"):
        write(folder / output, module)
    assert (folder / output).read_bytes() == precious
    assert write(folder / output, module, restart=True).rows == 10
    assert_rows(read(folder / output), expected(module))


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.parquet", "out.npy.errors.jsonl"])
def test_failures_are_not_listed_over_a_file_of_somebody_else(folder, module, name):
    (folder / "photos" / "0001.jpg").write_bytes(b"no image")
    (folder / name).write_text('{"precious": 1}\n')
    chosen = {"errors": folder / name} if name.startswith("mine") else {}
    with pytest.raises(InputError, match="holds something else"):
        write(folder / "out.npy", module, **chosen)
    assert (folder / name).read_text() == '{"precious": 1}\n'
    assert not (folder / "out.npy").exists()
    (folder / name).unlink()
    for _ in range(2):  # the second time over a list of our own
        assert write(folder / "out.npy", module, **chosen).failures == 1


def test_what_is_nested_too_deeply_is_somebody_elses(folder, module):
    (folder / "deep.jsonl").write_text("[" * 100_000)
    with pytest.raises(InputError, match="holds something else"):
        write(folder / "out", module, errors=folder / "deep.jsonl")
