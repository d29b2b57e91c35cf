"""Programs as people wrote them for tensorflow_hub, run unchanged: a process for each file of them.

Each program gives numbers that are compared with those of the original networks, and each file is
run once more on other weights, where every one of these numbers must be another.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import mobilenet_hub as hub  # noqa: E402
from mobilenet_hub.weights.random_weights import random_weights  # noqa: E402
from mobilenet_hub.weights.storage.store import keep  # noqa: E402
from places import ROOT, TESTS  # noqa: E402
from tensorflow_support import TRAINING, V1, V2, V2_LOGITS, images, reference  # noqa: E402

pytestmark = pytest.mark.tensorflow

# What the programs of each file compute, by bullet of what they show, and what it must be.
SESSIONS = {  # hub.Module in graphs and sessions
    "placeholder": "features", "signature": "features", "condition": "features",
    "flipped": "features", "iterator": "features", "eval": "features", "scope": "first two",
    "logits": "logits", "train": "training of V2", "eval_train": "training of V2",
}  # fmt: skip
GRAPHS = {
    "left": "features", "map_fn": "features", "while_loop": "features", "saliency": "features",
    "wrapped": "features", "iterator_map": "features",
    "handle_query": "features", "handle_mirror": "features", "handle_archive": "features",
    "described": "features",
    "frames": "bytes", "divided": "bytes",
}  # fmt: skip
RETRAINING = {
    "encoded": "bytes", "bottlenecks": "features", "frozen": "features",
    "before_training": "features", "init_from_checkpoint": "features", "serving": "features",
    "exported": "features", "spec_export": "features", "input_layer": "features",
}  # fmt: skip
KERAS = {  # KerasLayer and hub.load, for Keras 3 and for tf_keras
    "sequential": "features", "kaggle": "features", "load": "features", "signature": "features",
    "saved": "features", "checkpoint": "features", "dataset": "features",
    "eager_dataset": "features", "function": "features", "lambda": "features", "graph": "features",
    "logits": "logits", "train": "training of V1",
}  # fmt: skip
TUTORIALS = {
    "retraining_before": "features", "transfer": "bytes", "subclass": "features",
    "subclass_load": "features", "step": "training of V1", "two_inputs": "features",
    "similarity": "bytes", "serving_default": "features", "default": "features",
    "tflite": "features", "tflite_signature": "features", "callable": "features",
    "restored": "features", "from_config": "features", "from_json": "features",
    "path_clone": "features", "path_h5": "features", "kaggle_short": "features",
    "kaggle_long": "features", "kaggle_query": "features", "divided": "bytes",
}  # fmt: skip
ATOL = {"training of V1": 1e-3, "training of V2": 3e-3}


@pytest.fixture(scope="module")
def expected():
    pixels = np.round(255 * images()).astype(np.uint8)
    return {
        "features": reference(V1, "features"),
        "first two": reference(V1, "features")[:2],
        "bytes": hub.Module(f"{V1}/feature_vector/3")(pixels),
        "logits": reference(V2_LOGITS, "logits"),
        "training of V1": reference(V1, "train/features"),
        "training of V2": reference(V2, "train/features"),
    }


@pytest.fixture(
    scope="module",
    params=["real", pytest.param("other", marks=[pytest.mark.slow, pytest.mark.long])],
)
def weights(request, tmp_path_factory):
    """Whose weights programs load, and the environment variables that say so."""
    if request.param == "real":
        return "real", {}
    cache = str(tmp_path_factory.mktemp("other weights"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOBILENET_HUB_CACHE_DIR", cache)
        for name in (f"{V1}/feature_vector", f"{V2}/feature_vector", f"{V2_LOGITS}/classification"):
            info = hub.find(name)
            keep(random_weights(info.network, seed=1, logits="class" in name), info)
    return "other", {"MOBILENET_HUB_CACHE_DIR": cache}


@pytest.fixture(scope="module")
def run(weights, tmp_path_factory):
    """Runs a file of programs as `tensorflow_hub`'s; gives what it computed."""
    whose, variables = weights

    def run_file(name, **environment):
        folder = tmp_path_factory.mktemp(f"{name}_{whose}")
        np.savez(folder / "images.npz", images=images())
        script = TESTS / "tensorflow" / "programs" / f"{name}.py"
        given = [str(folder / "images.npz"), str(folder / "found.npz")]
        ran = subprocess.run(
            [sys.executable, "-m", "mobilenet_hub.tensorflow_hub", str(script), *given],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **variables, **environment},
            capture_output=True,
            text=True,
            cwd=folder,
        )
        assert ran.returncode == 0, ran.stderr[-3000:]
        return np.load(folder / "found.npz")

    return run_file


def check(found, wanted, expected, weights):
    """Every number is the original network's, or, on other weights, none is."""
    errors = {key: np.abs(found[key] - expected[what]).max() for key, what in wanted.items()}
    right = {key for key, error in errors.items() if error < ATOL.get(wanted[key], 1e-4)}
    assert right == (set(wanted) if weights[0] == "real" else set()), errors


@pytest.mark.parametrize(
    ("file", "wanted"),
    [("session_style", SESSIONS), ("graph_style", GRAPHS), ("retraining_style", RETRAINING)],
)
def test_graphs_and_sessions_compute_what_the_original_networks_do(
    run, weights, expected, file, wanted
):
    found = run(file)
    check(found, wanted, expected, weights)
    if file == "session_style" and weights[0] == "real":
        loss = TRAINING["mobilenet_v2_035_224/train/regularization_loss_without_logits"]
        assert found["regularization"] == pytest.approx(loss, rel=1e-5)
        key = "mobilenet_v2_035_224/train/momentum_0.997"
        variance = TRAINING[f"{key}/MobilenetV2/Conv_1/BatchNorm/moving_variance"]
        np.testing.assert_allclose(found["moving_variance"], variance, rtol=1e-3)
    if file == "graph_style" and weights[0] == "real":
        features = expected["features"]
        distance = np.linalg.norm(features - features[::-1], axis=1)
        np.testing.assert_allclose(found["distance"], distance, atol=1e-3)
        assert found["slope_error"] < 0.2
    if file == "retraining_style" and weights[0] == "real":
        assert 1e-3 < found["moved"] < 3, "trained, and not ruined"


@pytest.mark.parametrize("legacy", ["0", "1"], ids=["keras_3", "tf_keras"])
@pytest.mark.parametrize(
    ("file", "wanted"), [("keras_style", KERAS), ("tutorial_style", TUTORIALS)]
)
def test_both_keras_compute_what_the_original_networks_do(
    run, weights, expected, file, wanted, legacy
):
    pytest.importorskip("tf_keras" if legacy == "1" else "keras")
    if weights[0] == "other" and legacy == "1":
        pytest.skip("Keras 3 shows it")
    found = run(file, TF_USE_LEGACY_KERAS=legacy, KERAS_BACKEND="tensorflow")
    assert (
        str(found["keras"]) == f"mobilenet_hub.{'tensorflow' if legacy == '1' else 'keras'}.layer"
    )
    check(found, wanted, expected, weights)
    if file == "keras_style":
        np.testing.assert_allclose(found["loaded"], found["trained"], atol=1e-5)
        assert np.isfinite(found["trained"]).all()
