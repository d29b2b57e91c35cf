"""What a machine is known to compute is computed once, and said of every dataset."""

from __future__ import annotations

import json

import numpy as np
import pytest

import mobilenet_hub as hub
from calibration_support import measured
from mobilenet_hub.settings import ClassifierSettings, PreprocessingSettings
from mobilenet_hub.verification import remembered as room
from mobilenet_hub.verification.remembered import remembered
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.classifier import make_classifier
from mobilenet_hub.weights.storage.calibrations import keep_calibration
from weights_support import load_bundled

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


@pytest.mark.parametrize(
    "damage", [b"", b"passed", b"\xff\xfe", b"perhaps 0123456789abcdef", b"passed \x1b[31m"]
)
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


def test_int8_that_is_calibrated_for_another_size_alone_is_not_compared():
    weights = load_bundled("mobilenet_v1_025_224")
    changed = {name: value * np.float32(1.01) for name, value in weights.tensors.items()}
    kernel = np.zeros((weights.network.num_features, 2), np.float32)
    own = ClassifierSettings(("ant", "bee"), PreprocessingSettings(128, 128), precision="int8")
    features = Weights(weights.network, changed, {"source": "trained"})
    keep_calibration(measured(features, 128))
    handle = "google/imagenet/mobilenet_v1_025_224/classification"
    module = hub.Module(
        handle, weights=make_classifier(features, kernel, np.zeros(2, np.float32), own)
    )
    assert module.calibration().size == (128, 128)
    assert remembered(module).startswith("not compared: int8 needs to know")


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
