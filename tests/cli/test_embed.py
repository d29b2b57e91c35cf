"""`embed`: the whole command, as a user runs it."""

from __future__ import annotations

import json
import os
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest

from commands import mobilenet_hub_command
from pictures import SMALL, SMALL_CLASSIFIER, encoded, write_pictures

FAST = ["--module", SMALL, "--size", "32"]


run = partial(mobilenet_hub_command, "embed")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "photos", 5)
    return tmp_path


def test_embed_works_with_nothing_but_paths_and_an_output(examples, tmp_path):
    done = run(examples, "--output", tmp_path / "features.parquet")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    images = [p for p in examples.iterdir() if p.suffix in (".jpg", ".png")]
    table = pq.read_table(tmp_path / "features.parquet")
    assert table.column("id").to_pylist() == sorted(map(str, images))
    assert table.schema.field("embedding").type.list_size == 1280


def test_in_a_pipe_it_says_one_line_and_draws_nothing(folder):
    done = run("photos", "-o", "out", *FAST)
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("5 embedded in ")
    assert "5 rows in out" in done.stderr


def test_progress_as_json_ends_with_all_done(folder):
    (folder / "photos" / "0002.jpg").write_bytes(b"no image")
    lines = run("photos", "-o", "out", "--progress", "json", *FAST).stderr.splitlines()
    last = json.loads(lines[-2])
    assert (last["done"], last["failed"], last["skipped"], last["total"]) == (4, 1, 0, 5)
    assert last["images_per_second"] > 0


def test_the_summary_as_json_is_all_of_standard_output(folder):
    (folder / "photos" / "0002.jpg").write_bytes(b"no image")
    done = run("photos", "photos/0001.jpg", "-o", "out.npy", "--json", *FAST)
    summary = json.loads(done.stdout)
    assert done.stderr == ""
    assert (summary["done"], summary["failed"], summary["rows"]) == (4, 1, 4)
    assert (summary["duplicates"], summary["interrupted"]) == (1, False)
    assert summary["errors"] == "out.npy.errors.jsonl"
    assert np.load("out.npy").shape == (4, 256)


def test_the_exit_code_says_how_it_went(folder):
    assert run("photos", "-o", "out", "--strict", *FAST).returncode == 0
    (folder / "photos" / "9999.jpg").write_bytes(b"no image")
    assert run("photos", "-o", "out", *FAST).returncode == 0
    done = run("photos", "-o", "out", "--strict", *FAST)
    assert done.returncode == 3
    assert "1 failed, listed in out/_errors.jsonl" in done.stderr
    nothing = run("photos/9999.jpg", "-o", "none", *FAST)
    assert (nothing.returncode, nothing.stderr.splitlines()[-1]) == (
        1, "error: no image could be read",
    )  # fmt: skip
    (folder / "empty").mkdir()
    assert run("empty", "-o", "none2", *FAST).stderr.splitlines()[-1] == "error: no images found"
    refused = run("nowhere", "-o", "none3", *FAST)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("error: no such file or folder")
    assert not (folder / "none3").exists()


@pytest.mark.parametrize(
    "wrong",
    [["--size", "0"], ["--size", "1x2x3"], ["--shard", "2/2"], ["--shard", "x"], ["--crop", "odd"]],
)
def test_wrong_usage_ends_with_2(folder, wrong):
    assert run("photos", "-o", "out", "-m", SMALL, *wrong).returncode == 2
    assert not (folder / "out").exists()


def test_changed_settings_are_one_line_on_standard_error(folder):
    run("photos", "-o", "out", *FAST)
    done = run("photos", "-o", "out", "--normalize", "l2", *FAST)
    assert done.returncode == 1
    assert done.stderr.startswith("error: this dataset was made with other settings")
    assert "Traceback" not in done.stderr
    assert run("photos", "-o", "out", "--normalize", "l2", "--restart", *FAST).returncode == 0


def test_all_options_of_a_row_arrive(folder):
    done = run(
        "photos", "-o", "out", "-m", SMALL_CLASSIFIER, "--size", "32x40", "--labels", "3",
        "--dtype", "float16", "--dimensions", "--content-hash", "--normalize", "l2",
        "--crop", "pad", "--part-items", "2", "--shard", "0/1", "--threads", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = pq.read_table("out")
    wanted = ["id", "embedding", "labels", "label_indices", "scores", "width", "height", "sha256"]
    assert table.column_names == wanted
    made = json.loads(table.schema.metadata[b"mobilenet_hub"])
    assert (made["height"], made["width"], made["crop"]) == (32, 40, "pad")
    assert len(list((folder / "out").glob("*.parquet"))) == 3


def test_standard_input_names_any_file(folder):
    name = os.fsdecode(b"odd \xff\n.jpg")
    (folder / name).write_bytes(encoded(9))
    names = os.fsencode(name) + b"\0"
    run("-", "-o", "out", *FAST, input=names, text=False, check=True)
    assert pq.read_table("out").column("id").to_pylist() == [r"odd \xff\x0a.jpg"]


def test_sources_from_lists_and_tables(folder):
    (folder / "list.csv").write_text("mine,where\na,0001.jpg\n")
    options = ["--root", "photos", "--path-column", "where", "--id-column", "mine"]
    assert run("list.csv", "-o", "out", *options, *FAST).returncode == 0
    assert pq.read_table("out").column("id").to_pylist() == ["a"]
