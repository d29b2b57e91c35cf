"""`classify`: the whole command, as a user runs it."""

from __future__ import annotations

import json
from functools import partial

import pytest

from commands import mobilenet_hub_command, python
from pictures import SMALL_CLASSIFIER, encoded, write_pictures

FAST = ["--module", SMALL_CLASSIFIER, "--size", "32"]


run = partial(mobilenet_hub_command, "classify")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "photos", 3)
    return tmp_path


def test_one_photo_and_a_folder_of_photos_are_named_right(examples):
    one = run(examples / "cat.jpg", "--json")
    (line,) = one.stdout.splitlines()
    record = json.loads(line)
    assert record["id"] == str(examples / "cat.jpg")
    assert record["labels"][0]["name"] in ("tabby", "tiger cat", "Egyptian cat")
    assert len(record["labels"]) == 5
    all_of_them = [json.loads(line) for line in run(examples, "--json").stdout.splitlines()]
    (same,) = [r for r in all_of_them if r["id"] == record["id"]]
    for label, other in zip(record["labels"], same["labels"], strict=True):
        assert label["name"] == other["name"]
        assert label["score"] == pytest.approx(other["score"], abs=1e-4)


def test_in_a_pipe_it_prints_a_line_a_label(folder):
    done = run("photos", "-k", "2", *FAST)
    assert (done.returncode, done.stderr) == (0, "")
    header, *lines = done.stdout.splitlines()
    assert header == "image\tlabel\tprobability"
    assert [line.split("\t")[0] for line in lines] == [
        f"photos/000{i}.jpg" for i in range(3) for _ in range(2)
    ]
    assert all(0 <= float(line.split("\t")[2]) <= 1 for line in lines)


def test_what_cannot_be_read_is_listed_and_stops_nothing(folder):
    (folder / "photos" / "0001.jpg").write_bytes(b"<html>")
    done = run("photos", *FAST)
    assert done.returncode == 0
    assert done.stderr.startswith("photos/0001.jpg: not a JPEG")
    assert len(done.stdout.splitlines()) == 1 + 2 * 5
    assert run("photos", "--strict", *FAST).returncode == 3
    records = [json.loads(line) for line in run("photos", "--json", *FAST).stdout.splitlines()]
    assert records[1]["error"]["stage"] == "decode"
    assert [record["id"] for record in records] == [f"photos/000{i}.jpg" for i in range(3)]


def test_lists_are_read_as_embed_reads_them(folder):
    (folder / "list.csv").write_text("mine,where\na,0001.jpg\n")
    options = ["--root", "photos", "--path-column", "where", "--id-column", "mine"]
    done = run("list.csv", "--json", *options, *FAST)
    assert json.loads(done.stdout)["id"] == "a"


def test_nothing_to_classify_ends_with_1(folder):
    (folder / "x.jpg").write_bytes(b"")
    assert run("x.jpg", *FAST).returncode == 1
    (folder / "empty").mkdir()
    done = run("empty", *FAST)
    assert (done.returncode, done.stderr) == (1, "error: no images found\n")
    done = run("nowhere.jpg", *FAST)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no such file or folder")


def test_an_image_may_come_through_a_pipe(folder):
    done = run("-", "--json", *FAST, input=encoded(1), text=False)
    assert json.loads(done.stdout)["id"] == "stdin"


def test_a_module_without_logits_is_refused(folder):
    done = run("photos", "-m", "google/imagenet/mobilenet_v1_025_224/feature_vector/5")
    assert done.returncode == 1
    assert "labels need a module that classifies" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("wrong", [["-k", "0"], ["--crop", "odd"], ["--size", "x"]])
def test_wrong_usage_ends_with_2(folder, wrong):
    assert run("photos", *wrong).returncode == 2


def test_names_cannot_play_tricks_on_a_terminal(folder):
    (folder / "evil\x1b[2J.jpg").write_bytes(b"")
    done = run("evil\x1b[2J.jpg", "photos/0000.jpg", *FAST)
    assert "\x1b" not in done.stdout + done.stderr


def test_nothing_heavy_is_imported_that_is_not_used(folder):
    code = (
        "import sys; sys.argv = ['mobilenet-hub', 'classify', 'photos/0000.jpg', "
        f"*{FAST!r}]; from mobilenet_hub.cli import run; run()\n"
        "heavy = ('pyarrow', 'pandas', 'onnxruntime', 'tensorflow', 'torch', 'ray', 'fsspec')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    assert python(code).splitlines()[-1] == "[]"


def test_a_list_elsewhere_names_photos_beside_it_and_below_a_root(folder):
    (folder / "photos" / "list.txt").write_text("0000.jpg\n")
    (folder / "list.txt").write_text("0000.jpg\n")
    for arguments in (["photos/list.txt"], ["list.txt", "--root", "photos"]):
        done = run(*arguments, "--json", *FAST)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["id"] == "photos/0000.jpg"


def test_files_that_are_passed_over_are_counted(folder):
    (folder / "photos" / "scan.pdf").write_bytes(b"")
    done = run("photos", "--json", *FAST)
    assert len(done.stdout.splitlines()) == 3
    assert "not named like images, left out: 1 .pdf; --all-files tries them" in done.stderr
    done = run("photos", "--all-files", "--json", *FAST)
    assert len(done.stdout.splitlines()) == 4
    assert "left out" not in done.stderr
