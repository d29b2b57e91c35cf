"""`embed_to`: a second run does only what is missing."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from commands import environment, measured
from dataset_support import FILES, assert_rows, errors, expected, read, write
from mobilenet_hub.errors import InputError
from mobilenet_hub.pipeline import processor
from pictures import SIZE, SMALL, encoded, write_pictures


@pytest.mark.parametrize("output", ["out", "out.csv"])
def test_failures_may_be_listed_elsewhere_and_as_parquet(folder, module, output):
    (folder / "photos" / "0003.jpg").write_bytes(b"no image")
    summary = write(folder / output, module, errors=folder / "bad.parquet")
    assert summary.errors == folder / "bad.parquet"
    (line,) = pq.read_table(folder / "bad.parquet").to_pylist()
    assert (line["id"], line["stage"]) == ("photos/0003.jpg", "decode")
    with pytest.raises(InputError, match="listed as"):
        write(folder / output, module, errors=folder / "bad.txt")


def test_items_named_twice_have_one_row(folder, module):
    summary = write(folder / "out", module, ["photos", "photos/0002.jpg"])
    assert (summary.duplicates, summary.rows) == (1, 10)
    assert_rows(read(folder / "out"), expected(module))


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


def test_failures_are_not_listed_where_they_cannot_be(folder, module):
    for listed in ("nowhere/errors.jsonl", "out.parquet"):
        with pytest.raises(InputError, match="a file of their own"):
            write(folder / "out.parquet", module, errors=listed)


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


def test_sizes_of_pictures_larger_than_pillow_likes_are_noted(folder, module, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("RGB", (30, 20)).save(folder / "photos" / "large.png")
    summary = write(folder / "out", module, "photos/large.png", dimensions=True)
    assert summary.rows == 1
    row = pq.read_table(folder / "out" / "part-00000.parquet").to_pylist()[0]
    assert (row["width"], row["height"]) == (30, 20)


@pytest.mark.parametrize("output", FILES)
def test_restart_begins_anew(folder, module, output):
    write(folder / output, module)
    write_pictures(folder / "photos", 2, start=20)
    summary = write(folder / output, module, "photos/000[1-3].jpg", normalize="l2", restart=True)
    assert (summary.counts.done, summary.counts.skipped, summary.rows) == (3, 0, 3)
    found = read(folder / output)
    assert len(found) == 3
    assert all(np.linalg.norm(row) == pytest.approx(1, abs=1e-5) for row in found.values())


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
    """Bytes of memory that a process of its own has at most when it embeds so many files."""
    code = (
        "import mobilenet_hub as hub\n"
        f"hub.embed_to('{count}', 'out{count}', {SMALL!r}, size={SIZE}, part_items=1000,"
        " restart=True)"
    )
    peak = folder / "peak"
    subprocess.run(
        measured(peak, [sys.executable, "-c", code]), check=True, env=environment(), timeout=600
    )
    assert len(read(folder / f"out{count}")) == count
    return int(peak.read_text())
