"""`calibrate`, and what other commands say and do once there is a calibration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from calibration_support import clouds
from commands import mobilenet_hub_command as run
from mobilenet_hub.weights.storage.origins import BUNDLED
from weights_support import empty_cache, load_bundled  # noqa: F401 - a fixture

KEY = "mobilenet_v1_025_224"


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "clouds"
    folder.mkdir()
    for index, pixels in enumerate(clouds(24, 128)):
        Image.fromarray(pixels).save(folder / f"{index:02}.png")
    return folder


def test_weights_of_ones_own_are_calibrated_and_then_run_in_int8(photos, tmp_path):
    weights = tmp_path / "own.safetensors"
    load_bundled(KEY).with_metadata(
        handle="google/imagenet/mobilenet_v1_025_128/classification/5"
    ).save(weights)
    refused = run("classify", str(photos), "-m", str(weights), "--precision", "int8")
    assert refused.returncode == 1
    assert "mobilenet-hub calibrate" in refused.stderr
    done = run("calibrate", str(weights), str(photos), "--name", "clouds", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["photos"]["count"] == 24
    assert record["certificates"][0]["agreement"] > 0
    for engine in ("openvino", "onnxruntime"):
        done = run(
            "classify", str(photos), "-m", str(weights), "--precision", "int8", "--engine", engine,
            "--threads", "1", "--json",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 24
    assert "mobilenet_v1 0.25 at 128x128\t24 photos (clouds" in run("cache", "list").stdout
    entries = json.loads(run("cache", "list", "--json").stdout)
    (listed,) = (entry for entry in entries if "calibration" in entry)
    assert (listed["calibration"], listed["photos"]["count"]) == (record["path"], 24)
    said = run("info", str(weights)).stdout
    assert "calibrated on 24 photos (clouds)" in said
    assert "same top-1" in said
    Path(record["path"]).write_bytes(b"damaged")
    done = run("info", str(weights))
    assert (done.returncode, "Delete it, or measure anew" in done.stdout) == (0, True)


def test_info_says_how_close_int8_is(capsys):
    facts = json.loads(run("info", f"google/imagenet/{KEY}/classification", "--json").stdout)
    (certificate, *_) = facts["calibration"]["certificates"]
    assert (
        certificate["top1_interval"][0]
        <= certificate["top1_loss"]
        <= certificate["top1_interval"][1]
    )
    assert certificate["instruction_set"]
    assert KEY in BUNDLED


def test_a_dataset_is_of_one_precision(photos, tmp_path):
    handle = f"google/imagenet/{KEY}/feature_vector"
    words = ("embed", str(photos), "-o", str(tmp_path / "out"), "-m", handle)
    assert run(*words, "--precision", "int8").returncode == 0
    refused = run(*words)
    assert refused.returncode == 1
    assert "precision" in refused.stderr
    assert run(*words, "--precision", "int8").returncode == 0
    found = run(
        "search", str(photos / "03.png"), "--index", str(tmp_path / "out"), "--json", "-k", "1"
    )
    assert found.returncode == 0, found.stderr
    (match,) = json.loads(found.stdout)["matches"]
    assert match["id"].endswith("03.png")
    assert match["similarity"] > 0.9999
