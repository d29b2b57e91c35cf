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

from places import ROOT, TESTS
from tensorflow_support import V1, images, reference

pytestmark = [pytest.mark.registry, pytest.mark.tensorflow]


def test_files_go_both_ways(tmp_path):
    site = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site)]
    subprocess.run([*command, "tensorflow_hub==0.16.1", "setuptools<82"], check=True)
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
