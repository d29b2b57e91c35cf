"""The exit code of every command: 0 done, 1 failed, 2 wrong usage, 3 under --strict."""

from __future__ import annotations

import pytest

from mobilenet_hub import cli
from mobilenet_hub.catalog import find
from mobilenet_hub.weights.random_weights import random_weights
from pictures import SMALL, SMALL_CLASSIFIER, write_pictures

FEATURES = f"-m {SMALL} --size 32"
LABELS = f"-m {SMALL_CLASSIFIER} --size 32"
OTHER = "google/imagenet/mobilenet_v1_025_128/classification/5"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a command, given in one line, in a folder with some files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOBILENET_HUB_CACHE_DIR", str(tmp_path / "cache"))
    write_pictures(tmp_path / "photos", 2)
    write_pictures(tmp_path / "mixed", 1)
    (tmp_path / "mixed" / "bad.jpg").write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    random_weights(find(OTHER).network).save(tmp_path / "some.safetensors")

    def run_line(line):
        monkeypatch.setattr("sys.argv", ["mobilenet-hub", *line.split()])
        return cli.run()

    return run_line


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("--version", 0),
        ("--help", 0),
        ("", 2),
        ("nothing", 2),
        ("list", 0),
        ("list *v9*", 0),
        ("list --nothing", 2),
        (f"info {SMALL}", 0),
        ("info some.safetensors", 1),
        ("info google/imagenet/mobilenet_v9", 1),
        ("info", 2),
        (f"classify photos {LABELS}", 0),
        (f"classify mixed {LABELS}", 0),
        (f"classify mixed --strict {LABELS}", 3),
        (f"classify empty {LABELS}", 1),
        (f"classify mixed/bad.jpg {LABELS}", 1),
        (f"classify photos {FEATURES}", 1),
        (f"classify photos -m {SMALL_CLASSIFIER} --size 999999999", 1),
        ("classify", 2),
        ("classify photos -k 0", 2),
        (f"embed photos -o out {FEATURES}", 0),
        (f"embed mixed -o out {FEATURES}", 0),
        (f"embed mixed -o out --strict {FEATURES}", 3),
        (f"embed empty -o out {FEATURES}", 1),
        (f"embed gone -o out {FEATURES}", 1),
        ("embed photos", 2),
        ("embed photos -o out --shard 2/2", 2),
        ("duplicates photos", 1),
        ("duplicates", 2),
        ("index photos", 1),
        ("index", 2),
        ("search photos -i photos", 1),
        ("search photos", 2),
        (f"fetch {SMALL} {OTHER}", 1),
        ("fetch", 2),
        (f"import some.safetensors --as {OTHER}", 0),
        ("import some.safetensors", 1),
        ("import", 2),
        (f"convert {SMALL} --to safetensors", 0),
        ("convert photos --to safetensors", 1),
        (f"convert {SMALL} --to onnx", 2),
        ("cache list", 0),
        ("cache path", 0),
        ("cache prune", 0),
        ("cache verify", 0),
        ("cache", 2),
        ("cache nothing", 2),
    ],
)
def test_a_command_ends_with_the_code_that_is_documented(run, line, code, capsys):
    assert run(line) == code
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    if code == 1:
        assert printed.err.splitlines()[-1].startswith("error: ") or line.startswith("fetch")


def test_datasets_are_searched_indexed_and_compared(run):
    pytest.importorskip("usearch")
    assert run(f"embed photos -o out {FEATURES}") == 0
    assert run("duplicates out") == 0
    assert run("index out") == 0
    assert run("search photos -i out.index") == 0
    assert run("search mixed/bad.jpg -i out.index") == 1
    assert run("search mixed -i out.index --strict") == 3


def test_damage_in_the_cache_ends_verify_with_1(run, tmp_path):
    assert run(f"import some.safetensors --as {OTHER}") == 0
    (stored,) = (tmp_path / "cache").rglob("*.safetensors")
    stored.chmod(0o644)
    stored.write_bytes(stored.read_bytes()[:-1])
    assert run("cache verify") == 1
