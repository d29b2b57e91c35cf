"""`embed`: the whole command, as a user runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest

import http_server as web
from commands import command, environment, mobilenet_hub_command
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
    ["--size 0", "--size 1x2x3", "--shard 2/2", "--shard x", "--crop odd", "--address host:6379"],
)
def test_wrong_usage_ends_with_2(folder, wrong):
    assert run("photos", "-o", "out", "-m", SMALL, *wrong.split()).returncode == 2
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


def test_what_it_wrote_is_not_among_its_sources_the_next_time(folder):
    for output, others in (("f.parquet", []), ("f.npy", ["f.ids.txt"])):
        words = [*map(str, (folder / "photos").iterdir()), output, *others]
        (folder / "photos" / "0002.jpg").write_bytes(b"no image")
        run(*words[:5], "-o", output, *FAST, check=True)
        done = run(*words, f"{output}.errors.jsonl", "-o", output, *FAST)
        assert (done.returncode, "left out" in done.stderr) == (0, True), done.stderr
        assert "0 embedded" in done.stderr
    alone = run("f.parquet", "-o", "f.parquet", *FAST)
    assert (alone.returncode, "is the only source" in alone.stderr) == (2, True)


def test_a_share_without_images_is_done(folder):
    for index in range(30):
        done = run("photos/0000.jpg", "-o", "out", "--shard", f"{index}/30", *FAST)
        assert (done.returncode, "error" in done.stderr) == (0, False)
        if index > 1 and "0 embedded" in done.stderr:
            break
    else:
        raise AssertionError("no share was empty")


def test_a_full_disk_is_named_with_the_file_and_what_to_do(folder):
    limited = f"ulimit -f 1; {sys.executable} -B -m mobilenet_hub embed photos -o out --threads 1"
    done = subprocess.run(
        ["sh", "-c", f"{limited} --module {SMALL} --size 32"],
        capture_output=True, text=True, check=False, env=environment(),
    )  # fmt: skip
    assert done.returncode == 1
    assert re.search(r"error: .*make room, and the same command.*'out/.*part-00000", done.stderr)


def test_rows_that_go_from_a_file_are_counted_in_words(folder):
    run("photos", "-o", "f.npy", *FAST, check=True)
    done = run("photos/0001.jpg", "-o", "f.npy", *FAST, check=True)
    assert "4 rows of images not named this time taken out" in done.stderr


def test_standard_output_holds_no_dataset(folder):
    done = run("photos", "-o", "-", *FAST)
    assert done.returncode == 1
    assert "Received: '-', standard output" in done.stderr
    assert not (folder / "-").exists()


def test_the_timeout_is_one_setting_with_the_environment(folder, monkeypatch):
    monkeypatch.setenv("MOBILENET_HUB_TIMEOUT", "no number")
    with web.serving() as server:
        server.on("/a.jpg", web.file(encoded(1)))
        url = f"{server.url}/a.jpg"
        done = run(url, "-o", "out", *FAST)
        assert done.returncode == 2
        assert "MOBILENET_HUB_TIMEOUT" in done.stderr
        assert not (folder / "out").exists()
        assert run(url, "-o", "out", "--timeout", "5", *FAST).returncode == 0
    assert run(url, "-o", "out", "--timeout", "0", *FAST).returncode == 2


@pytest.mark.parametrize("output", ["out", "f.parquet", "f.npy", "f.csv"])
def test_files_that_are_passed_over_are_counted_and_no_file_without_rows_is_written(folder, output):
    (folder / "others").mkdir()
    for name in ("1.HEIC", "2.heic", "scan.pdf", "new.avif", "README", ".DS_Store"):
        (folder / "others" / name).write_bytes(b"")
    done = run("others", "-o", output, *FAST)
    assert done.returncode == 1
    assert "no images found" in done.stderr
    assert (
        "not named like images, left out: 2 .heic, 1 without a suffix, 1 .avif, 1 .pdf; "
        "--all-files tries them" in done.stderr
    )
    assert output == "out" or not (folder / output).exists()
    done = run("others", "photos", "-o", output, *FAST)
    assert done.returncode == 0
    assert "5 rows in" in done.stderr
    assert "left out: 2 .heic" in done.stderr


def test_a_list_elsewhere_names_photos_beside_it_and_below_a_root(folder):
    (folder / "photos" / "list.txt").write_text("0000.jpg\n0001.jpg\n")
    assert run("photos/list.txt", "-o", "a.parquet", *FAST).returncode == 0
    (folder / "list.txt").write_text("0000.jpg\n0001.jpg\n")
    assert run("list.txt", "-o", "b.parquet", "--root", "photos", *FAST).returncode == 0
    for name in ("a", "b"):
        ids = pq.read_table(folder / f"{name}.parquet").column("id").to_pylist()
        assert ids == ["photos/0000.jpg", "photos/0001.jpg"]


@pytest.mark.parametrize(
    "url", ["ftp://", "http://[bad", "http://", "://", "s3://", "nonsense://x"]
)
def test_what_is_no_url_is_one_sentence(folder, url):
    done = run(url, "-o", "out", *FAST)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr


def test_a_closed_standard_input_is_one_sentence(folder):
    line = " ".join(command("embed", "-", "-o", "out", *FAST))
    done = subprocess.run(
        ["bash", "-c", f"{line} 0<&-"], capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
