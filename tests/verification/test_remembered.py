"""What a machine is known to compute is computed once, and said of every dataset."""

from __future__ import annotations

import json

import pytest

import mobilenet_hub as hub
from mobilenet_hub.verification import remembered as room
from mobilenet_hub.verification.machine import this_machine
from mobilenet_hub.verification.remembered import remembered

SMALL = "google/imagenet/mobilenet_v1_025_224/feature_vector"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILENET_HUB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(room, "_known", {})
    return tmp_path / "cache"


def never(*arguments, **options):
    raise AssertionError("computed again")


def test_it_is_computed_once_for_each_way_to_compute(monkeypatch):
    module = hub.Module(SMALL)
    line = remembered(module)
    outcome = hub.verify(SMALL, engines=["openvino"], precisions=["float32"])
    assert line == f"passed {outcome.digest}"
    monkeypatch.setattr(room, "verify", never)
    assert remembered(hub.Module(SMALL, threads=1)) == line
    room._known.clear()  # as in another process
    assert remembered(hub.Module(SMALL)) == line
    for other in ({"engine": "onnxruntime"}, {"precision": "int8"}):
        with pytest.raises(AssertionError, match="computed again"):
            remembered(hub.Module(SMALL, **other))


@pytest.mark.parametrize("damage", [b"", b"passed", b"\xff\xfe", b"perhaps 0123456789abcdef"])
def test_a_damaged_note_is_written_again(cache, damage):
    line = remembered(hub.Module(SMALL))
    (note,) = (cache / "verified").iterdir()
    note.write_bytes(damage)
    room._known.clear()
    assert remembered(hub.Module(SMALL)) == line
    assert note.read_text() == line


def test_a_cache_that_cannot_be_written_changes_nothing(cache):
    cache.write_text("a file where the folder should be")
    assert remembered(hub.Module(SMALL)).startswith("passed ")


def test_a_precision_that_the_cpu_does_not_have_is_said_and_no_error():
    known = this_machine().bf16
    line = remembered(hub.Module(SMALL, precision="bf16"))
    assert line.startswith("passed " if known else "not compared: this CPU has no bfloat16")


def test_of_random_weights_nothing_is_known():
    assert remembered(hub.Module(SMALL, weights="random")) == "no golden outputs"


def test_a_dataset_says_it_and_goes_on_on_a_machine_that_computes_otherwise(
    tmp_path, examples, monkeypatch
):
    out = tmp_path / "features"
    hub.embed_to([examples / "cat.jpg"], out, SMALL)
    noted = json.loads((out / "_manifest" / "settings.json").read_text())
    assert noted["verification"] == remembered(hub.Module(SMALL))
    monkeypatch.setattr("mobilenet_hub.pipeline.job.remembered", lambda module: "failed 0123")
    summary = hub.embed_to([examples / "cat.jpg", examples / "camera.png"], out, SMALL)
    assert (summary.counts.done, summary.rows) == (1, 2)
