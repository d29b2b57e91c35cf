"""Datasets in a folder: parts, shards, and what outages and damage do to them."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mobilenet_hub as hub
from dataset_support import FILES, assert_rows, errors, expected, read, write
from mobilenet_hub.errors import DatasetError
from mobilenet_hub.pipeline.dataset.id_sets import digest
from pictures import SMALL, encoded, write_pictures
from source_support import make_tar


def test_a_dataset_is_parts_of_so_many_items(folder, module):
    write(folder / "out", module)
    parts = sorted(path.name for path in (folder / "out").glob("*.parquet"))
    assert parts == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    schema = pq.read_schema(folder / "out" / parts[0])
    assert schema.field("embedding").type == pa.list_(pa.float32(), 256)
    made = json.loads(schema.metadata[b"mobilenet_hub"])
    assert made["handle"] == SMALL
    assert made["weights_sha256"] == module.weights.sha256
    assert (made["crop"], made["height"], made["library_version"]) == (
        "center",
        32,
        hub.__version__,
    )
    compression = pq.read_metadata(folder / "out" / parts[0]).row_group(0).column(1).compression
    assert compression == "ZSTD"


def test_a_folder_that_is_something_else_is_left_alone(folder, module):
    for restart in (False, True):
        with pytest.raises(DatasetError, match="not a dataset"):
            write(folder / "photos", module, restart=restart)
    assert len(list((folder / "photos").iterdir())) == 10


def test_a_failing_part_without_rows_counts(folder, module):
    values = [(str(i), b"no image") for i in range(4)] + [("last", encoded(1))]
    summary = write(folder / "out", module, values)
    assert (summary.rows, summary.failures) == (1, 4)
    assert write(folder / "out", module, values).counts.skipped == 5


def test_rows_of_items_that_are_not_named_any_more_stay(folder, module):
    write(folder / "out", module)
    write_pictures(folder / "more", 3, start=50)
    assert write(folder / "out", module, "more").rows == 13


def test_a_list_of_failures_in_the_folder_is_no_part_of_the_dataset(folder, module):
    (folder / "photos" / "0001.jpg").write_bytes(b"no image")
    write(folder / "out", module, errors=folder / "out" / "errors.parquet")
    assert_rows(read(folder / "out"), expected(module))


def test_one_shard_does_not_begin_anew_with_other_settings(folder, module):
    for shard in ((0, 2), (1, 2)):
        write(folder / "out", module, shard=shard)
    with pytest.raises(DatasetError, match="normalize"):
        write(folder / "out", module, shard=(0, 2), normalize="l2", restart=True)
    assert len(read(folder / "out")) == 10
    assert write(folder / "out", module, shard=(0, 2), restart=True).counts.done > 0
    assert_rows(dict(sorted(read(folder / "out").items())), expected(module))


def test_a_part_that_lost_its_rows_is_made_again(folder, module):
    write(folder / "out", module)
    (folder / "out" / "part-00001.parquet").unlink()
    assert write(folder / "out", module).counts.done == 4
    found, wanted = read(folder / "out"), expected(module)
    assert sorted(found) == sorted(wanted)


def assert_nothing_changed_but_failures(folder, module, output, before, summary, ids):
    assert_rows(read(folder / output), before)
    assert {line["id"] for line in errors(summary.errors)} == ids
    assert (summary.rows, summary.failures, summary.kept) == (len(before), len(ids), len(ids))


@pytest.mark.parametrize("output", FILES)
def test_rows_stay_while_their_files_cannot_be_had_and_failures_go_with_the_outage(
    folder, module, output
):
    (folder / "list.txt").write_text("".join(f"photos/{n:04d}.jpg\n" for n in range(10)))
    write(folder / output, module, "list.txt")
    before = read(folder / output)
    (folder / "photos").rename(folder / "away")
    for _ in range(2):  # a second outage finds the lines of the first
        summary = write(folder / output, module, "list.txt")
        assert_nothing_changed_but_failures(
            folder, module, output, before, summary, set(before)
        )  # fmt: skip
    (folder / "away").rename(folder / "photos")
    summary = write(folder / output, module, "list.txt")
    assert (summary.counts.done, summary.counts.skipped, summary.failures) == (0, 10, 0)
    assert (summary.rows, summary.kept) == (10, 0)
    assert_rows(read(folder / output), before)


@pytest.mark.parametrize("output", FILES)
def test_a_folder_that_is_gone_takes_no_rows_with_it(folder, module, output):
    write(folder / output, module, ["photos"])
    before = read(folder / output)
    (folder / "photos").rename(folder / "away")
    summary = write(folder / output, module, ["photos"])
    assert_rows(read(folder / output), before)
    assert [line["id"] for line in errors(summary.errors)] == ["photos"]


def test_a_row_goes_when_its_new_bytes_were_read_and_are_no_image(folder, module):
    write(folder / "out", module)
    (folder / "photos" / "0003.jpg").write_bytes(b"no image any more")
    assert write(folder / "out", module).rows == 9
    (folder / "photos" / "0003.jpg").unlink()
    (folder / "photos" / "0003.jpg").symlink_to("nowhere")
    summary = write(folder / "out", module)
    assert (summary.rows, summary.failures, summary.kept) == (9, 1, 0)


OTHER_TABLES = {
    "other columns": {"x": [1, 2, 3, 4]},
    "another type": {"id": ["a", "b", "c", "d"], "embedding": ["w", "x", "y", "z"]},
    "another length": {"id": ["a", "b", "c", "d"], "embedding": [[1.0], [2.0], [3.0], [4.0]]},
    "no ids": {"id": pa.nulls(4, pa.string()), "stage": [1, 2, 3, 4]},
}


@pytest.mark.parametrize("file", ["out/part-00001.parquet", "out/_manifest/part-00001.parquet"])
@pytest.mark.parametrize("columns", OTHER_TABLES)
def test_a_table_of_something_else_in_the_place_of_a_part_or_manifest_is_made_again(
    folder, module, file, columns
):
    """It ended in a traceback, or its rows were taken for ours."""
    write(folder / "out", module)
    pq.write_table(pa.table(OTHER_TABLES[columns]), folder / file)
    assert write(folder / "out", module).counts.done == 4
    assert dict(sorted(read(folder / "out").items())).keys() == expected(module).keys()
    assert write(folder / "out", module).counts.skipped == 10


@pytest.mark.parametrize("file", ["out/part-00001.parquet", "out/_manifest/part-00001.parquet"])
@pytest.mark.parametrize("damage", ["empty", "cut", "footer", "gone"])
def test_a_damaged_part_or_manifest_is_made_again(folder, module, file, damage):
    write(folder / "out", module)
    data = (folder / file).read_bytes()
    footer = int.from_bytes(data[-8:-4], "little")
    changed = {
        "empty": b"",
        "cut": data[: len(data) // 2],
        "footer": data[: -8 - footer] + bytes(footer) + data[-8:],
        "gone": None,
    }[damage]
    if changed is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(changed)
    assert write(folder / "out", module).counts.done == 4
    assert dict(sorted(read(folder / "out").items())).keys() == expected(module).keys()
    assert write(folder / "out", module).counts.skipped == 10


def test_shards_beyond_99999_keep_to_their_own(folder, module):
    sources = [(f"{n}", encoded(n)) for n in range(3)]
    shards = 1_000_000
    place = {name: int.from_bytes(digest(name)[:8], "big") % shards for name, _ in sources}
    for _ in range(2):
        for name, data in sources:
            summary = write(folder / "out", module, [(name, data)], shard=(place[name], shards))
            assert summary.rows == 1
    assert summary.counts.skipped == 1
    assert sorted(read(folder / "out")) == ["0", "1", "2"]


def test_what_is_refused_leaves_nothing_behind(folder, module):
    def broken():
        yield "first", encoded(0)
        raise ZeroDivisionError("the source broke")

    with pytest.raises(ZeroDivisionError):
        write(folder / "out", module, broken(), normalize="l2")
    assert not (folder / "out").exists()
    assert write(folder / "out", module).rows == 10


def test_shards_share_a_folder_and_together_make_the_whole(folder, module):
    for index in (2, 0, 1):
        write(folder / "out", module, shard=(index, 3), part_items=2)
    found, wanted = read(folder / "out"), expected(module)
    assert sorted(found) == sorted(wanted)
    for identity, embedding in wanted.items():
        np.testing.assert_array_equal(found[identity], embedding)


def test_shards_made_apart_are_merged_by_copying(folder, module):
    import shutil

    (folder / "photos" / "0003.jpg").write_bytes(b"no image")
    for index in range(3):
        write(folder / f"out{index}", module, shard=(index, 3))
        shutil.copytree(folder / f"out{index}", folder / "merged", dirs_exist_ok=True)
    assert sorted(read(folder / "merged")) == sorted(expected(module))
    lists = list((folder / "merged").glob("_errors-*-of-00003.jsonl"))
    assert len(lists) == 3
    assert [line["id"] for path in lists for line in errors(path)] == ["photos/0003.jpg"]
    assert write(folder / "merged", module, shard=(1, 3)).counts.done == 0


def test_an_archive_that_is_whole_again_is_listed_as_a_failure_no_more(folder, module):
    """Its line stayed for ever: what the archive holds has other ids."""
    archive = folder / "photos.tar"
    make_tar(archive, {f"{i}.jpg": encoded(i) for i in range(3)})
    whole = archive.read_bytes()
    archive.write_bytes(whole.rstrip(b"\0"))  # without its end
    for done in (3, 0):  # with the items there as before, it is still damaged
        summary = write(folder / "out", module, "photos.tar")
        assert (summary.counts.done, summary.failures) == (done, 1)
    assert write(folder / "out", module).failures == 1  # a run of something else says nothing of it
    archive.write_bytes(whole)
    summary = write(folder / "out", module, "photos.tar")
    assert (summary.counts.done, summary.rows, summary.failures) == (0, 13, 0)
    assert errors(folder / "out" / "_errors.jsonl") == []
