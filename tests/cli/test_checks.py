"""`verify`: a table, JSON, and an exit code that tells."""

from __future__ import annotations

import json

import numpy as np
import pytest

from commands import mobilenet_hub_command as run
from mobilenet_hub.weights.canonical import Weights, load
from mobilenet_hub.weights.storage.store import local_path

SMALL = "google/imagenet/mobilenet_v1_025_224/classification"


def test_a_network_of_the_package_passes_on_every_engine():
    done = run("verify", SMALL)
    assert done.returncode == 0, done.stderr
    header, *rows = done.stdout.splitlines()
    assert header.startswith("module\tengine\tprecision\tlargest difference")
    engines = {row.split("\t")[1] for row in rows}
    assert engines == {"openvino", "onnxruntime"}
    assert all(row.split("\t")[6] == "passed" for row in rows)
    assert "openvino 20" in done.stderr  # the versions
    assert f"{SMALL}: weights sha256 " in done.stderr


def test_json_has_all_figures():
    (outcome,) = json.loads(run("verify", SMALL, "--json").stdout)
    assert outcome["passed"] is True
    assert len(outcome["digest"]) == 16
    assert len(outcome["weights_sha256"]) == 64
    assert outcome["machine"]["versions"]["python"]
    for check in outcome["checks"]:
        assert check["same_in_every_place"] is True
        assert check["largest_difference"] < 1 and check["broken"] == []


def test_one_changed_weight_is_exit_code_1_and_said(tmp_path):
    weights = load(local_path(SMALL))
    tensors = dict(weights.tensors)
    name = "MobilenetV1/Conv2d_0/weights"
    tensors[name] = (
        np.where(np.arange(tensors[name].size) == 5, 1, 0)
        .reshape(tensors[name].shape)
        .astype(np.float32)
        + tensors[name]
    )
    Weights(weights.network, tensors, weights.metadata).save(tmp_path / "changed.safetensors")
    done = run("verify", tmp_path / "changed.safetensors")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        f"error: {tmp_path / 'changed.safetensors'}: there are no golden outputs for these weights "
        "of google/imagenet/mobilenet_v1_025"
    )


@pytest.mark.slow
def test_benchmark_prints_a_line_for_each_engine_and_json_the_same_figures(examples):
    words = ("benchmark", SMALL, "--photos", examples, "--seconds", "0.02", "--threads", "1")
    done = run(*words)
    assert done.returncode == 0, done.stderr
    header, *rows = (line.split("\t") for line in done.stdout.splitlines())
    assert header[3:5] == ["cold start s", "one image ms"]
    assert {row[1] for row in rows} == {"openvino", "onnxruntime"}
    (outcome,) = json.loads(run(*words, "--json").stdout)
    assert [[row["engine"], row["precision"]] for row in outcome["figures"]] == [
        row[1:3] for row in rows
    ]
    assert outcome["machine"]["cpu"]


def test_of_several_modules_each_is_verified_though_one_cannot_be_had():
    done = run("verify", "google/imagenet/mobilenet_v9", SMALL, "--json")
    assert done.returncode == 1
    assert "mobilenet_v9" in done.stderr.splitlines()[-1]
    (outcome,) = json.loads(done.stdout)
    assert outcome["passed"] is True
