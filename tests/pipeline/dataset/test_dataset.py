"""Datasets on disk: what is in them, and that a second run does only what is missing."""

from __future__ import annotations

import io
import json
import os
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import mobilenet_hub as hub
from commands import python
from mobilenet_hub.errors import DatasetError, InputError
from mobilenet_hub.pipeline import processor
from mobilenet_hub.pipeline.api import embed
from mobilenet_hub.pipeline.dataset import manifest
from mobilenet_hub.pipeline.dataset.formats import read_rows
from mobilenet_hub.pipeline.dataset.id_sets import DigestSet, digest
from mobilenet_hub.pipeline.job import embed_to
from mobilenet_hub.pipeline.sources.items import BytesItem
from pictures import SIZE, SMALL, SMALL_CLASSIFIER, encoded, write_pictures
from stored_rows import rows

FILES = ["out", "out.parquet", "out.csv", "out.npy"]


@pytest.fixture(scope="module")
def module():
    return hub.Module(SMALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "photos", 10)
    return tmp_path


def write(output, module, source="photos", **options):
    return embed_to(source, output, module, **{"size": SIZE, "part_items": 4, **options})


def read(output):
    """Ids to embeddings."""
    return dict(rows(output))


def errors(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def expected(module, source="photos"):
    return {r.id: r.embedding for r in embed(source, module, size=SIZE) if r.ok}


def assert_rows(found, wanted):
    assert list(found) == list(wanted)
    for identity, embedding in wanted.items():
        np.testing.assert_array_equal(found[identity], embedding)


# What is in them


@pytest.mark.parametrize("output", FILES)
def test_every_output_holds_every_row_exactly(folder, module, output):
    (folder / "photos" / "0003.jpg").write_bytes(b"no image")
    summary = write(folder / output, module)
    assert_rows(read(folder / output), expected(module))
    assert (summary.counts.done, summary.counts.failed, summary.rows) == (9, 1, 9)
    (line,) = errors(summary.errors)
    assert (line["id"], line["stage"]) == ("photos/0003.jpg", "decode")
    assert "not a JPEG" in line["reason"]


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


@pytest.mark.parametrize("output", ["out", "out.csv"])
def test_failures_may_be_listed_elsewhere_and_as_parquet(folder, module, output):
    (folder / "photos" / "0003.jpg").write_bytes(b"no image")
    summary = write(folder / output, module, errors=folder / "bad.parquet")
    assert summary.errors == folder / "bad.parquet"
    (line,) = pq.read_table(folder / "bad.parquet").to_pylist()
    assert (line["id"], line["stage"]) == ("photos/0003.jpg", "decode")
    with pytest.raises(InputError, match="listed as"):
        write(folder / output, module, errors=folder / "bad.txt")


def test_a_npy_file_is_an_array_and_a_text_file_of_ids(folder, module):
    write(folder / "out.npy", module)
    ids = (folder / "out.ids.txt").read_text().splitlines()
    assert ids == list(expected(module))
    assert np.load(folder / "out.npy").shape == (10, 256)


def test_a_npy_file_refuses_what_it_cannot_hold(folder, module):
    with pytest.raises(InputError, match="embeddings alone"):
        write(folder / "out.npy", module, dimensions=True)


def test_an_output_in_a_missing_folder_is_refused(folder, module):
    with pytest.raises(InputError, match="folder must exist"):
        write(folder / "none" / "out.npy", module)


def test_items_named_twice_have_one_row(folder, module):
    summary = write(folder / "out", module, ["photos", "photos/0002.jpg"])
    assert (summary.duplicates, summary.rows) == (1, 10)
    assert_rows(read(folder / "out"), expected(module))


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


# Runs again


def test_the_same_command_again_computes_nothing(folder, module):
    for output in FILES:
        write(folder / output, module)
        rows = folder / output / "part-00000.parquet" if output == "out" else folder / output
        before = rows.stat().st_mtime_ns
        summary = write(folder / output, module)
        assert (summary.counts.done, summary.counts.skipped, summary.rows) == (0, 10, 10)
        assert rows.stat().st_mtime_ns == before


@pytest.mark.parametrize("output", FILES)
def test_only_what_is_new_changed_or_could_not_be_read_is_computed(folder, module, output):
    photos = folder / "photos"
    (photos / "0001.jpg").write_bytes(b"no image")
    (photos / "0002.jpg").rename(folder / "away.jpg")
    (photos / "0002.jpg").symlink_to(folder / "away2.jpg")  # cannot be read
    first = write(folder / output, module)
    assert (first.counts.done, first.counts.failed) == (8, 2)
    (folder / "away.jpg").rename(folder / "away2.jpg")  # now it can
    (photos / "0005.jpg").write_bytes(encoded(105))
    (photos / "0006.jpg").write_bytes(b"broken since")
    (photos / "0077.jpg").write_bytes(encoded(77))
    second = write(folder / output, module)
    assert (second.counts.done, second.counts.failed, second.counts.skipped) == (3, 1, 7)
    wanted = expected(module)
    found = read(folder / output)
    assert sorted(found) == sorted(wanted)
    for identity, embedding in wanted.items():
        np.testing.assert_array_equal(found[identity], embedding)
    listed = {line["id"] for line in errors(second.errors)}
    assert listed == {"photos/0001.jpg", "photos/0006.jpg"}
    assert (second.rows, second.failures) == (9, 2)
    third = write(folder / output, module)
    assert (third.counts.done, third.counts.failed, third.counts.skipped) == (0, 0, 11)


def test_a_touched_file_is_computed_again_unless_told_by_content(folder, module):
    write(folder / "stamps", module)
    write(folder / "hashes", module, content_hash=True)
    os.utime(folder / "photos" / "0004.jpg", ns=(1, 1))
    assert write(folder / "stamps", module).counts.done == 1
    assert write(folder / "hashes", module, content_hash=True).counts.done == 0
    data = (folder / "photos" / "0005.jpg").read_bytes()
    other = encoded(99)
    assert len(other) != len(data)
    (folder / "photos" / "0004.jpg").write_bytes(other)
    os.utime(folder / "photos" / "0004.jpg", ns=(1, 1))
    assert write(folder / "hashes", module, content_hash=True).counts.done == 1


def test_rows_of_items_that_are_not_named_any_more_stay(folder, module):
    write(folder / "out", module)
    write_pictures(folder / "more", 3, start=50)
    assert write(folder / "out", module, "more").rows == 13


@pytest.mark.parametrize("output", [name for name in FILES if name != "out"])
def test_a_file_holds_what_the_last_run_named_and_nothing_else(folder, module, output):
    (folder / "photos" / "0001.jpg").write_bytes(b"no image")
    assert write(folder / output, module).failures == 1
    write_pictures(folder / "more", 3, start=50)
    (folder / "photos" / "0004.jpg").rename(folder / "more" / "0049.jpg")
    summary = write(folder / output, module, "more")
    assert (summary.counts.done, summary.rows, summary.failures) == (4, 4, 0)
    assert sorted(read(folder / output)) == [f"more/{n:04d}.jpg" for n in (49, 50, 51, 52)]
    assert not summary.errors.exists()
    # What was taken out is not taken for done.
    summary = write(folder / output, module)
    assert (summary.counts.done, summary.counts.failed, summary.rows) == (8, 1, 8)
    wanted, found = expected(module), read(folder / output)
    assert sorted(found) == sorted(wanted)
    for identity, embedding in wanted.items():
        np.testing.assert_array_equal(found[identity], embedding)


def test_a_npy_file_and_its_ids_belong_together_whatever_happens_between(folder, module):
    write(folder / "out.npy", module)
    ids = folder / "out.ids.txt"
    old = ids.read_bytes()
    write_pictures(folder / "more", 10, start=50)
    write(folder / "out.npy", module, "more")
    ids.write_bytes(old)  # as if the run had been killed before it put the new ids in place
    write(folder / "out.npy", module, "more")
    assert_rows(read(folder / "out.npy"), expected(module, "more"))
    ids.unlink()
    assert write(folder / "out.npy", module, "more").rows == 10
    assert_rows(read(folder / "out.npy"), expected(module, "more"))


@pytest.mark.parametrize("output", [name for name in FILES if name != "out"])
def test_a_source_without_images_leaves_a_file_as_it_was(folder, module, output):
    write(folder / output, module)
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match=r"no images; the output stays"):
        write(folder / output, module, "empty")
    assert_rows(read(folder / output), expected(module))
    assert write(folder / output, module).counts.skipped == 10


def test_a_second_run_that_is_refused_disturbs_nothing(folder, module):
    write(folder / "out.npy", module)
    entered, leave = threading.Event(), threading.Event()

    def slow():
        for path in sorted((folder / "photos").iterdir()):
            yield f"photos/{path.name}", path.read_bytes()
        entered.set()
        leave.wait(60)
        yield "last", encoded(77)

    thread = threading.Thread(target=write, args=(folder / "out.npy", module, slow()))
    thread.start()
    entered.wait(60)
    try:
        with pytest.raises(DatasetError, match="another run"):
            write(folder / "out.npy", module, restart=True)
    finally:
        leave.set()
        thread.join()
    assert list(read(folder / "out.npy")) == [*expected(module), "last"]


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


def test_a_folder_named_like_a_file_is_left_alone(folder, module):
    output = "out.parquet"
    (folder / output).mkdir()
    (folder / output / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="folder of something else"):
        write(folder / output, module)
    assert (folder / output / "thesis.txt").exists()


def test_failures_are_not_listed_where_they_cannot_be(folder, module):
    for errors in ("nowhere/errors.jsonl", "out.parquet"):
        with pytest.raises(InputError, match="a file of their own"):
            write(folder / "out.parquet", module, errors=errors)


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


def test_bytes_of_the_same_length_are_told_apart(folder, module):
    def table(colour):
        file = io.BytesIO()
        Image.new("RGB", (40, 40), colour).save(file, "BMP")
        pq.write_table(pa.table({"id": ["a"], "image": [file.getvalue()]}), folder / "t.parquet")

    table("red")
    write(folder / "out.npy", module, "t.parquet")
    table("blue")
    assert write(folder / "out.npy", module, "t.parquet").counts.done == 1
    assert write(folder / "out.npy", module, "t.parquet").counts.skipped == 1


def test_a_suffix_is_one_in_capitals_too(folder, module):
    write(folder / "OUT.NPY", module)
    assert np.load(folder / "OUT.NPY").shape == (10, 256)
    assert len(read(folder / "OUT.NPY")) == 10


@pytest.mark.parametrize("name", ["out.txt", "out.h5", "out.json"])
def test_a_file_of_another_format_is_refused_not_made_a_folder(folder, module, name):
    with pytest.raises(InputError, match=rf"\.parquet, \.npy, \.csv.*{name}"):
        write(folder / name, module)
    assert not (folder / name).exists()
    (folder / name).mkdir()
    assert write(folder / name, module).rows == 10


def test_sizes_of_pictures_larger_than_pillow_likes_are_noted(folder, module, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("RGB", (30, 20)).save(folder / "photos" / "large.png")
    summary = write(folder / "out", module, "photos/large.png", dimensions=True)
    assert summary.rows == 1
    row = pq.read_table(folder / "out" / "part-00000.parquet").to_pylist()[0]
    assert (row["width"], row["height"]) == (30, 20)


def test_other_settings_are_refused_and_named(folder, module):
    write(folder / "out", module)
    with pytest.raises(DatasetError, match=r"crop 'center'.*--restart.*Received: crop 'none'"):
        write(folder / "out", module, crop="none")
    other = hub.Module(SMALL, weights="random")
    with pytest.raises(DatasetError, match="weights_sha256"):
        write(folder / "out", other)
    with pytest.raises(DatasetError, match=r"shards 1.*Received: shards 2"):
        write(folder / "out", module, shard=(0, 2))


@pytest.mark.parametrize(
    ("other", "named"),
    [({"precision": "bf16"}, "precision"), ({"engine": "onnxruntime"}, "engine")],
)
def test_what_another_engine_or_precision_computes_is_not_mixed_in(folder, module, other, named):
    write(folder / "out", module)
    with pytest.raises(DatasetError, match=f"other settings: {named}.*Received: {named}"):
        write(folder / "out", hub.Module(SMALL, **other))


def test_a_dataset_from_before_engine_and_precision_were_noted_is_taken_up(folder, module):
    write(folder / "out", module)
    path = folder / "out" / "_manifest" / "settings.json"
    noted = json.loads(path.read_text())
    for name in ("engine", "precision", "providers", "features"):
        del noted[name]
    path.write_text(json.dumps(noted))
    assert write(folder / "out", module).counts.skipped == 10


@pytest.mark.parametrize("output", FILES)
def test_restart_begins_anew(folder, module, output):
    write(folder / output, module)
    write_pictures(folder / "photos", 2, start=20)
    summary = write(folder / output, module, "photos/000[1-3].jpg", normalize="l2", restart=True)
    assert (summary.counts.done, summary.counts.skipped, summary.rows) == (3, 0, 3)
    found = read(folder / output)
    assert len(found) == 3
    assert all(np.linalg.norm(row) == pytest.approx(1, abs=1e-5) for row in found.values())


def test_two_runs_do_not_write_to_one_dataset(folder, module):
    entered, leave = threading.Event(), threading.Event()

    def slow():
        yield "first", encoded(0)
        entered.set()
        leave.wait(60)

    thread = threading.Thread(target=write, args=(folder / "out", module, slow()))
    thread.start()
    entered.wait(60)
    try:
        with pytest.raises(DatasetError, match="another run"):
            write(folder / "out", module)
    finally:
        leave.set()
        thread.join()
    assert list(read(folder / "out")) == ["first"]


@pytest.mark.parametrize("output", ["out.parquet", "out.npy", "out.csv"])
def test_an_older_one_of_our_own_files_in_the_place_of_the_last_is_made_anew(
    folder, module, output
):
    write(folder / output, module, "photos/000[0-4].jpg")
    old = {path: path.read_bytes() for path in folder.glob("out.*") if path.is_file()}
    write(folder / output, module)
    for path, data in old.items():
        path.write_bytes(data)
    write(folder / output, module)
    assert_rows(dict(sorted(read(folder / output).items())), expected(module))


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


def test_standard_output_is_no_output(folder, module):
    with pytest.raises(InputError, match=r"must be a file or a folder.*standard output"):
        write(Path("-"), module)


@pytest.mark.parametrize("output", [b"out\xff", b"out\xff.parquet", b"out\xff.npy", b"out\xff.csv"])
def test_names_that_are_not_utf_8_are_outputs_like_any_other(folder, module, output):
    path = folder / os.fsdecode(output)
    for _ in range(2):
        assert write(path, module).rows == 10
    assert_rows(read(path), expected(module))


def test_a_single_file_says_how_many_rows_it_drops(folder, module):
    write(folder / "out.npy", module)
    assert write(folder / "out.npy", module, "photos/000[0-3].jpg").dropped == 6


def test_a_part_that_lost_its_rows_is_made_again(folder, module):
    write(folder / "out", module)
    (folder / "out" / "part-00001.parquet").unlink()
    assert write(folder / "out", module).counts.done == 4
    found, wanted = read(folder / "out"), expected(module)
    assert sorted(found) == sorted(wanted)


def test_damaged_settings_are_refused(folder, module):
    write(folder / "out", module)
    (folder / "out" / manifest.FOLDER / manifest.SETTINGS).write_text("{")
    with pytest.raises(DatasetError, match="cannot be read"):
        write(folder / "out", module)
    assert write(folder / "out", module, restart=True).rows == 10


# Outages, damage and odd numbers


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


def test_no_memory_says_nothing_of_an_image(folder, module, monkeypatch):
    write(folder / "out", module)
    data = (folder / "photos" / "0003.jpg").read_bytes()
    (folder / "photos" / "0003.jpg").write_bytes(data + b" ")

    def out_of_memory(*arguments, **options):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(processor, "preprocess", out_of_memory)
        summary = write(folder / "out", module)
    assert (summary.rows, summary.failures, summary.kept) == (10, 1, 1)
    assert errors(summary.errors)[0]["reason"] == "out of memory"
    assert write(folder / "out", module).counts.done == 1


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


@pytest.mark.parametrize("seconds", [-(10**12), 10**12, -1, 10**10])
def test_any_date_of_a_file_is_noted_and_known_again(folder, module, seconds):
    items = [BytesItem("a", "a", encoded(1), seconds * 10**9), BytesItem("b", "b", encoded(2))]
    assert write(folder / "out", module, items).rows == 2
    assert write(folder / "out", module, items).counts.skipped == 2


@pytest.mark.parametrize("output", ["out.parquet", "out.npy", "out.csv"])
def test_a_file_without_rows_is_not_begun(folder, module, output):
    summary = write(folder / output, module, [("a", b"no image")])
    assert (summary.rows, summary.failures) == (0, 1)
    assert not (folder / output).exists()
    assert write(folder / output, module, [("a", encoded(1))]).rows == 1


def test_what_is_refused_leaves_nothing_behind(folder, module):
    def broken():
        yield "first", encoded(0)
        raise ZeroDivisionError("the source broke")

    with pytest.raises(ZeroDivisionError):
        write(folder / "out", module, broken(), normalize="l2")
    assert not (folder / "out").exists()
    assert write(folder / "out", module).rows == 10


# Memory


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(folder):
    (original,) = write_pictures(folder / "one", 1)
    for count in (2_000, 10_000):
        (folder / str(count)).mkdir()
        for index in range(count):
            (folder / str(count) / f"{index:05d}.jpg").symlink_to(original)
    # More than one short run: on a busy machine, one thread may do all of it with one lane.
    few = max(peak_of_embedding(folder, 2_000) for _ in range(3))
    assert peak_of_embedding(folder, 10_000) < 1.05 * few


def peak_of_embedding(folder, count):
    """Kilobytes that a process of its own has at most when it embeds so many files."""
    code = (
        "import resource, mobilenet_hub as hub\n"
        f"hub.embed_to('{count}', 'out{count}', {SMALL!r}, size={SIZE}, part_items=1000,"
        " restart=True)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peak = int(python(code))
    assert len(read(folder / f"out{count}")) == count
    return peak


# Shards


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


def test_a_shard_needs_a_folder(folder, module):
    with pytest.raises(InputError, match="a shard needs a folder"):
        write(folder / "out.parquet", module, shard=(0, 2))


# Reading back


def test_what_holds_no_embeddings_is_refused(folder):
    (folder / "empty").mkdir()
    (folder / "text.csv").write_text("a,b\n1,2\n")
    np.save(folder / "cube.npy", np.zeros((2, 2, 2)))
    pq.write_table(pa.table({"x": [1]}), folder / "other.parquet")
    for name in ("empty", "text.csv", "cube.npy", "other.parquet", "nowhere.parquet"):
        with pytest.raises(DatasetError, match="expected a dataset of embeddings"):
            list(read_rows(folder / name, ["id", "embedding"]))


@given(st.lists(st.integers(0, 30_000), max_size=200), st.integers(1, 20_000))
def test_a_digest_set_is_a_set(values, many):
    digests = DigestSet(digest("many", i) for i in range(0, many, 100))
    added = set()
    for value in values:
        assert digests.add(digest(value)) == (value not in added)
        added.add(value)
    assert all(digest(value) in digests for value in added)
    assert digest("never") not in digests
    assert len(digests) == len(added) + len(range(0, many, 100))


def test_a_large_digest_set_still_knows_its_members():
    digests = DigestSet(digest(i) for i in range(30_000))
    assert len(digests) == 30_000
    assert all(digest(i) in digests for i in range(0, 30_000, 37))
    assert not any(digest(i) in digests for i in range(30_000, 31_000))
