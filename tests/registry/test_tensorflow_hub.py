"""tensorflow_hub 0.16.1 beside this library: each reads what the other saved."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("tf_keras")
pytest.importorskip("keras")

import mobilenet_hub as hub
from mobilenet_hub.errors import WeightsError
from places import ROOT, TESTS
from tensorflow_support import V1, images, reference

pytestmark = [pytest.mark.registry, pytest.mark.tensorflow]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with tensorflow_hub in it."""
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site)]
    subprocess.run([*command, "tensorflow_hub==0.16.1", "setuptools<82"], check=True)
    return site


def test_files_go_both_ways(site, tmp_path):
    np.savez(tmp_path / "images.npz", images=images())
    script = TESTS / "tensorflow" / "programs" / "beside_tensorflow_hub.py"
    environment = {
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT / "src")]),
        "TFHUB_CACHE_DIR": str(tmp_path / "cache"),
        "KERAS_BACKEND": "tensorflow",
        "TF_USE_LEGACY_KERAS": "0",
    }
    ran = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "images.npz"), str(tmp_path / "found.npz")],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = np.load(tmp_path / "found.npz")
    np.testing.assert_allclose(found["features"], reference(V1, "features"), atol=1e-4)
    for name in ("model.h5", "saved_model", "keras_3"):
        np.testing.assert_allclose(found[name], found["trained"], atol=1e-5)


def test_a_classifier_of_make_image_classifier_is_imported(site, shared, tmp_path):
    script = TESTS / "tensorflow" / "programs" / "classifier_of_tensorflow_hub.py"
    module = shared / "oracle" / "mobilenet_v2_035_96" / "hub_module"
    environment = {"PYTHONPATH": str(site), "TF_USE_LEGACY_KERAS": "1"}
    ran = subprocess.run(
        [sys.executable, str(script), str(module), str(tmp_path)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = np.load(tmp_path / "found.npz")
    for name in ("saved_model", "model.tflite", "model.h5"):
        labels = ["ants", "bees", "wasps"]
        result = hub.import_classifier(tmp_path / name, tmp_path / f"{name}.out", labels=labels)
        assert result.module.checkpoint_key == "mobilenet_v2_035_96"
        logits = hub.Module(result.folder)(found["images"])
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = shifted / shifted.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(probabilities, found["probabilities"], atol=1e-4)
    with pytest.raises(WeightsError, match=r"save the whole model as \.h5 or SavedModel"):
        hub.import_classifier(tmp_path / "model.keras", tmp_path / "refused")
