"""`retrain` as people and programs call it."""

from __future__ import annotations

import json

import pytest

from classes import SMALL_MODULE, write_classes
from commands import mobilenet_hub_command


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILENET_HUB_CACHE_DIR", str(tmp_path / "cache"))


def run(*arguments):
    return mobilenet_hub_command("retrain", *arguments, "--module", SMALL_MODULE)


def test_it_says_how_good_the_classifier_is_and_where_it_lies(tmp_path):
    photos = write_classes(tmp_path / "photos", 12)
    done = run(photos, "--output", tmp_path / "out", "--balance")
    assert done.returncode == 0, done.stderr
    assert "of 24 photos right: nested cross-validation" in done.stdout
    assert "There is no test side: the headline is cross-validation" in done.stderr
    assert str(tmp_path / "out" / "report.html") in done.stderr
    done = run(photos, "--output", tmp_path / "out", "--json", "--progress", "json")
    steps = [json.loads(line) for line in done.stderr.splitlines() if '"step"' in line]
    assert {"strengths", "folds"} <= {each["step"] for each in steps}
    assert all(each["done"] <= each["total"] for each in steps)
    summary = json.loads(done.stdout)
    assert summary["computed"] == 0 and summary["evaluations"][0]["photos"] == 24
    photo = photos / "red" / "3.png"
    labels = mobilenet_hub_command("classify", photo, "--module", tmp_path / "out", "--no-reject")
    assert {line.split("\t")[1] for line in labels.stdout.splitlines()[1:]} == {"red", "green"}


def test_what_cannot_be_done_is_said_in_a_sentence_and_writes_nothing(tmp_path):
    photos = write_classes(tmp_path / "photos", 12)
    least = ("--assert-accuracy-at-least", "1", "--validation-share", "0.3")
    (photos / "red" / "1.png").rename(photos / "green" / "wrong.png")
    (photos / "green" / "1.png").rename(photos / "red" / "wrong.png")
    done = run(photos, "--output", tmp_path / "out", *least)
    assert done.returncode == 1 and "expected an accuracy of at least 1.0000" in done.stderr
    assert not (tmp_path / "out").exists()
    done = run(tmp_path / "nothing", "--output", tmp_path / "out")
    assert done.returncode == 1 and "one folder of photos a class" in done.stderr
    assert run(photos, "--output", tmp_path / "out", "--seed", "x").returncode == 2
    done = run(photos, "--output", tmp_path / "out", "--epochs", "3")
    assert done.returncode == 2 and "options of --fine-tune. Received: epochs" in done.stderr
