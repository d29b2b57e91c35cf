"""Programs as people wrote them for tensorflow_hub, run unchanged, a few processes for all."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from places import ROOT, TESTS  # noqa: E402
from tensorflow_support import TRAINING, V1, V2, V2_LOGITS, images, reference  # noqa: E402

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs a file of programs as `tensorflow_hub`'s; gives what it computed."""

    def run_file(name, **environment):
        folder = tmp_path_factory.mktemp(name)
        np.savez(folder / "images.npz", images=images())
        script = TESTS / "tensorflow" / "programs" / f"{name}.py"
        given = [str(folder / "images.npz"), str(folder / "found.npz")]
        ran = subprocess.run(
            [sys.executable, "-m", "mobilenet_hub.tensorflow_hub", str(script), *given],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
            capture_output=True,
            text=True,
            cwd=folder,
        )
        assert ran.returncode == 0, ran.stderr[-3000:]
        return np.load(folder / "found.npz")

    return run_file


@pytest.fixture(scope="module")
def session_style(run):
    return run("session_style")


@pytest.mark.parametrize(
    "name", ["placeholder", "signature", "condition", "flipped", "iterator", "eval"]
)
def test_features_are_the_original_networks(session_style, name):
    np.testing.assert_allclose(session_style[name], reference(V1, "features"), atol=1e-4)


def test_a_module_in_a_template_is_the_original_network(session_style):
    np.testing.assert_allclose(session_style["scope"], reference(V1, "features")[:2], atol=1e-4)


def test_logits_are_the_original_networks(session_style):
    np.testing.assert_allclose(session_style["logits"], reference(V2_LOGITS, "logits"), atol=1e-4)


def test_a_step_of_fine_tuning_is_the_original_networks(session_style):
    expected = reference(V2, "train/features")
    for name in ("train", "eval_train"):
        assert np.abs(session_style[name] - expected).max() / expected.max() < 1e-3
    loss = TRAINING["mobilenet_v2_035_224/train/regularization_loss_without_logits"]
    assert session_style["regularization"] == pytest.approx(loss, rel=1e-5)
    key = "mobilenet_v2_035_224/train/momentum_0.997"
    variance = TRAINING[f"{key}/MobilenetV2/Conv_1/BatchNorm/moving_variance"]
    np.testing.assert_allclose(session_style["moving_variance"], variance, rtol=1e-3)


@pytest.fixture(scope="module", params=["0", "1"], ids=["keras_3", "tf_keras"])
def keras_style(run, request):
    pytest.importorskip("tf_keras" if request.param == "1" else "keras")
    found = run("keras_style", TF_USE_LEGACY_KERAS=request.param, KERAS_BACKEND="tensorflow")
    room = "tensorflow" if request.param == "1" else "keras"
    assert str(found["keras"]) == f"mobilenet_hub.{room}.layer"
    return found


FEATURES_OF_KERAS = [
    "sequential", "kaggle", "load", "signature", "saved", "checkpoint", "dataset", "eager_dataset",
    "function", "lambda", "graph",
]  # fmt: skip


@pytest.mark.parametrize("name", FEATURES_OF_KERAS)
def test_features_of_both_keras_are_the_original_networks(keras_style, name):
    np.testing.assert_allclose(keras_style[name], reference(V1, "features"), atol=1e-4)


def test_both_keras_train_and_classify_and_keep_what_they_trained(keras_style):
    np.testing.assert_allclose(keras_style["logits"], reference(V2_LOGITS, "logits"), atol=1e-4)
    np.testing.assert_allclose(keras_style["train"], reference(V1, "train/features"), atol=1e-3)
    np.testing.assert_allclose(keras_style["loaded"], keras_style["trained"], atol=1e-5)
    assert np.isfinite(keras_style["trained"]).all()
