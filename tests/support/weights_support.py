"""A small network's weights, and an empty cache for whoever stores them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mobilenet_hub.catalog import find
from mobilenet_hub.weights import Weights, load
from mobilenet_hub.weights.random_weights import random_weights
from mobilenet_hub.weights.storage.origins import BUNDLED
from mobilenet_hub.weights.storage.store import bundled_path

INFO = find("google/imagenet/mobilenet_v1_025_128/classification/3")
KEY = INFO.checkpoint_key
BUNDLED_V2 = find("google/imagenet/mobilenet_v2_100_224/feature_vector/3")


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    """An empty cache, no network, no lock file above."""
    for variable in (
        "TFHUB_CACHE_DIR",
        "MOBILENET_HUB_LOCK",
        "MOBILENET_HUB_MIRROR",
        "HF_ENDPOINT",
    ):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MOBILENET_HUB_OFFLINE", "1")
    monkeypatch.setenv("MOBILENET_HUB_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "cache"


def load_bundled(key):
    """The weights inside the package, whatever is in the cache."""
    path = bundled_path(find(f"google/imagenet/{key}/feature_vector"))
    return load(path, sha256=BUNDLED[key])


def weights_of(info, seed=1, logits=True):
    weights = random_weights(info.network, seed=seed, logits=logits)
    task = "classification" if logits else "feature_vector"
    return Weights(
        weights.network, weights.tensors, {"source": "x", "handle": replace(info, task=task).handle}
    )


def equal(a, b):
    return sorted(a.tensors) == sorted(b.tensors) and all(
        a.tensors[name].tobytes() == b.tensors[name].tobytes() for name in a.tensors
    )
