"""One file as the output: what a folder has, and what the last run named."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from dataset_support import FILES, assert_rows, expected, read, write
from mobilenet_hub.errors import DatasetError, InputError
from pictures import encoded, write_pictures


def test_a_npy_file_refuses_what_it_cannot_hold(folder, module):
    with pytest.raises(InputError, match="embeddings alone"):
        write(folder / "out.npy", module, dimensions=True)


def test_an_output_in_a_missing_folder_is_refused(folder, module):
    with pytest.raises(InputError, match="folder must exist"):
        write(folder / "none" / "out.npy", module)


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


def test_a_folder_named_like_a_file_is_left_alone(folder, module):
    output = "out.parquet"
    (folder / output).mkdir()
    (folder / output / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="folder of something else"):
        write(folder / output, module)
    assert (folder / output / "thesis.txt").exists()


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


def test_standard_output_is_no_output(folder, module):
    with pytest.raises(InputError, match=r"must be a file or a folder.*standard output"):
        write(Path("-"), module)


def test_a_single_file_says_how_many_rows_it_drops(folder, module):
    write(folder / "out.npy", module)
    assert write(folder / "out.npy", module, "photos/000[0-3].jpg").dropped == 6


@pytest.mark.parametrize("output", ["out.parquet", "out.npy", "out.csv"])
def test_a_file_without_rows_is_not_begun(folder, module, output):
    summary = write(folder / output, module, [("a", b"no image")])
    assert (summary.rows, summary.failures) == (0, 1)
    assert not (folder / output).exists()
    assert write(folder / output, module, [("a", encoded(1))]).rows == 1


def test_a_shard_needs_a_folder(folder, module):
    with pytest.raises(InputError, match="a shard needs a folder"):
        write(folder / "out.parquet", module, shard=(0, 2))


@pytest.mark.parametrize("note", ["", "[" * 100_000, "{}", "[3]", '[{"stamps": 3}]'])
def test_a_damaged_note_of_what_is_in_the_file_means_that_nothing_is_known(folder, module, note):
    write(folder / "out.parquet", module)
    (folder / ".out.parquet.parts" / "_manifest" / "packed.json").write_text(note)
    assert write(folder / "out.parquet", module).rows == 10
    assert_rows(read(folder / "out.parquet"), expected(module))
