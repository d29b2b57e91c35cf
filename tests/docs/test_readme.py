"""The README's code runs as it stands, and does what it is there for."""

from __future__ import annotations

import re

import numpy as np
import pytest

import mobilenet_hub as hub
from places import ROOT

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, *(pytest.param(n, marks=pytest.mark.long) for n in (2, 3))])
def test_fine_tuning_teaches_bees_and_ants(shared, tmp_path, monkeypatch, seed):
    keras = pytest.importorskip("keras")

    photos = shared / "transfer" / "hymenoptera"
    if not photos.is_dir():
        pytest.skip("the photos of bees and ants are not beside this checkout")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hymenoptera").symlink_to(photos)
    (block,) = (block for block in BLOCKS if "KerasLayer" in block)
    keras.utils.set_random_seed(seed)
    names = {}
    exec(block, names)
    model, (images, classes) = names["model"], names["validation"]
    probabilities = model.predict(images, batch_size=16, verbose=0)
    assert np.mean(probabilities.argmax(1) == classes) >= 0.95
    # What was written computes the same, in Keras and on the fast runtime.
    again = keras.models.load_model("ants-and-bees.keras")
    np.testing.assert_allclose(again.predict(images[:4], verbose=0), probabilities[:4], atol=1e-4)
    handle = "google/tf2-preview/mobilenet_v2/feature_vector/4"
    features = hub.Module(handle, weights="ants-and-bees.safetensors")(images[:4])
    expected = keras.ops.convert_to_numpy(names["layer"](images[:4]))
    np.testing.assert_allclose(features, expected, atol=1e-3)
