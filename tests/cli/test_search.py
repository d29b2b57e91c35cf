"""`index`, `search` and `duplicates`: the whole commands, as a user runs them."""

from __future__ import annotations

import json

import pytest

import mobilenet_hub as hub
from commands import mobilenet_hub_command as run
from mobilenet_hub.weights.canonical import to_bytes
from pages import Page
from pictures import SMALL, write_pictures

FAST = ["--module", SMALL, "--size", "32"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_index_of_weights_of_ones_own_is_searched_with_them(folder):
    pytest.importorskip("usearch")
    mine = "mobilenet_v1_0.25_224.safetensors"
    write_pictures(folder / "photos", 4)
    (folder / mine).write_bytes(to_bytes(hub.Module(SMALL, weights="random").weights))
    run("embed", "photos", "-o", "out", "-m", mine, "--size", "32", check=True)
    run("index", "out", check=True)
    done = run("search", "photos/0002.jpg", "-i", "out.index")
    assert done.returncode == 1
    assert "name them with --module PATH" in done.stderr
    done = run("search", "photos/0002.jpg", "-i", "out.index", "-m", mine, "-k", "1")
    assert done.stdout.splitlines()[1].split("\t")[1:] == ["1.0000", "photos/0002.jpg"]


def test_a_dataset_is_searched_without_an_index(folder):
    write_pictures(folder / "photos", 8)
    run("embed", "photos", "-o", "out.parquet", *FAST, check=True)
    done = run(
        "search", "photos/0003.jpg", "photos/0004.jpg", "-i", "out.parquet", "-k", "1",
        "--html", "page.html",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [line.split("\t") for line in done.stdout.splitlines()[1:]]
    assert found == [[name, "1.0000", name] for name in ("photos/0003.jpg", "photos/0004.jpg")]
    assert len(Page("page.html").images) == 4


def test_the_search_command_prints_matches_and_a_page(folder):
    pytest.importorskip("usearch")
    write_pictures(folder / "photos", 8)
    run("embed", "photos", "-o", "out", *FAST, check=True)
    done = run("index", "out")
    assert (done.returncode, done.stderr) == (0, "8 embeddings indexed in out.index\n")
    done = run("search", "photos/0003.jpg", "-i", "out.index", "-k", "2", "--html", "page.html")
    assert done.returncode == 0, done.stderr
    header, first, _ = done.stdout.splitlines()
    assert header == "image\tsimilarity\tmatch"
    assert first.split("\t")[2] == "photos/0003.jpg"
    done = run("search", "photos/0003.jpg", "-i", "out.index", "--json")
    record = json.loads(done.stdout)
    assert (record["id"], len(record["matches"])) == ("photos/0003.jpg", 8)
    assert len(Page("page.html").images) == 3
    (folder / "bad.jpg").write_bytes(b"")
    assert run("search", "bad.jpg", "-i", "out.index").returncode == 1
    assert run("search", "bad.jpg", "photos", "-i", "out.index", "--strict").returncode == 3
    assert run("search", "photos", "-i", "nowhere").returncode == 1


def test_the_duplicates_command_prints_groups_and_a_page(folder):
    paths = write_pictures(folder / "photos", 6)
    (folder / "photos" / "copy.jpg").write_bytes(paths[2].read_bytes())
    run("embed", "photos", "-o", "out", *FAST, check=True)
    done = run("duplicates", "out", "-t", "0.9999", "--html", "page.html")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "1 group; 1 image is much like an earlier one\n"
    assert [line.split("\t")[2] for line in done.stdout.splitlines()[1:]] == [
        "photos/0002.jpg", "photos/copy.jpg",
    ]  # fmt: skip
    assert len(Page("page.html").images) == 2
    done = run("duplicates", "out", "-t", "0.9999", "--json")
    assert json.loads(done.stdout)["first"] == "photos/0002.jpg"
    assert run("duplicates", "nowhere").returncode == 1


def test_photos_and_datasets_where_an_index_is_expected_are_told_what_comes_first(folder):
    pytest.importorskip("usearch")
    write_pictures(folder / "photos", 2)
    for arguments in (
        ["index", "photos"],
        ["duplicates", "photos"],
        ["duplicates", "photos/0000.jpg"],
    ):
        done = run(*arguments)
        assert done.returncode == 1
        assert "as `mobilenet-hub embed PHOTOS --output DATASET` writes it" in done.stderr
        assert "Traceback" not in done.stderr
    done = run("search", "photos/0000.jpg", "--index", "photos")
    assert done.returncode == 1
    assert "`mobilenet-hub index DATASET`" in done.stderr
    assert "`mobilenet-hub embed PHOTOS --output DATASET`" in done.stderr


def test_a_page_in_a_folder_that_is_not_there_is_one_sentence_with_its_name(folder):
    write_pictures(folder / "photos", 2)
    run("embed", "photos", "-o", "out", *FAST, check=True)
    done = run("duplicates", "out", "--html", "gone/page.html")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "error: No such file or directory. Received: 'gone'\n"
