"""`evaluate`: the whole command, as a user runs it."""

from __future__ import annotations

import json
from functools import partial

import pytest

from classifier_support import random_classifier
from commands import mobilenet_hub_command
from mobilenet_hub.settings import ClassifierSettings
from pages import Page
from pictures import write_pictures

run = partial(mobilenet_hub_command, "evaluate", "val", "--module", "own.safetensors")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "val" / "ant", 6)
    write_pictures(tmp_path / "val" / "bee", 4, start=6)
    random_classifier(ClassifierSettings(("ant", "bee"))).save("own.safetensors")
    return tmp_path


def test_figures_are_printed_and_a_page_written(folder):
    (folder / "val" / "ant" / "0000.jpg").write_bytes(b"no image")
    done = run("--html", "report.html")
    assert done.returncode == 0, done.stderr
    lines = dict(line.split("\t") for line in done.stdout.splitlines())
    assert lines["photos"] == "9"
    assert lines["top-1"].count(" %") == 3
    assert done.stderr.startswith("val/ant/0000.jpg: not a JPEG")
    assert "0000.jpg" in Page("report.html").text
    assert run("--strict").returncode == 3


def test_json_has_every_figure(folder):
    figures = json.loads(run("--json").stdout)
    assert figures["evaluations"][0]["top_1"]["photos"] == 10
    assert [each["label"] for each in figures["evaluations"][0]["classes"]] == ["ant", "bee"]
    assert figures["settings"]["crop"] == "center"


def test_a_folder_of_no_class_ends_with_1_and_says_what_was_expected(folder):
    write_pictures(folder / "val" / "wa\x1bsp", 1)
    done = run()
    assert done.returncode == 1
    assert done.stderr.startswith("error: expected folders named by class: 'ant', 'bee'. Received:")
    assert "\x1b" not in done.stderr


def test_another_file_is_not_written_over(folder):
    (folder / "report.html").write_text("mine")
    assert run("--html", "report.html").returncode == 1
    assert (folder / "report.html").read_text() == "mine"
