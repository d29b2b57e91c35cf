"""Which module and weights are meant: every way to say it, each answered once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import mobilenet_hub as hub
from mobilenet_hub.catalog import find
from mobilenet_hub.errors import AmbiguousModuleError, InputTypeError, WeightsError
from mobilenet_hub.weights import canonical, identify
from mobilenet_hub.weights.random_weights import random_weights
from mobilenet_hub.weights.resolve import module_of, resolve
from mobilenet_hub.weights.storage import store
from mobilenet_hub.weights.storage.origins import BUNDLED

INFO = find("google/imagenet/mobilenet_v1_025_128/classification/3")
FEATURES = find("google/imagenet/mobilenet_v2_100_224/feature_vector")


class Trained:
    """Something in training, as a `KerasLayer` is."""

    def __init__(self, info, weights):
        self.info, self.weights = info, weights

    def current_weights(self):
        return self.weights


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILENET_HUB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MOBILENET_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def counts(monkeypatch):
    """How often values were checked for NaN, and modules identified."""
    seen: Counter[str] = Counter()
    for place, name in ((canonical, "_check_values"), (identify, "possible_modules")):
        original = getattr(place, name)

        def counted(*args, _name=name, _original=original, **kwargs):
            seen[_name] += 1
            return _original(*args, **kwargs)

        monkeypatch.setattr(place, name, counted)
    return seen


def test_a_handle_is_its_record_and_its_published_weights():
    found = resolve(FEATURES.handle)
    assert found.info == FEATURES and found.trained is None
    assert found.weights.sha256 == BUNDLED["mobilenet_v2_100_224"]
    assert resolve(found.info).weights.sha256 == found.weights.sha256


def test_a_path_is_whatever_module_its_file_is_of(tmp_path):
    path = tmp_path / "mobilenet_v1_0.25_128.safetensors"
    random_weights(INFO.network).save(path)
    found = resolve(path)
    assert found.info.checkpoint_key == INFO.checkpoint_key
    assert module_of(path) == found.info


def test_a_thing_in_training_is_its_module_and_its_weights_of_now():
    trained = Trained(INFO, random_weights(INFO.network))
    found = resolve(trained)
    assert (found.info, found.weights, found.trained) == (INFO, trained.weights, trained)
    given = random_weights(INFO.network, seed=1)
    assert resolve(trained, given).weights is given
    assert resolve(trained, given).trained is None  # what is given does not change


def test_given_weights_go_before_a_files_own(tmp_path):
    path, given = tmp_path / "mobilenet_v1_0.25_128.safetensors", random_weights(INFO.network)
    random_weights(INFO.network, seed=1).save(path)
    found = resolve(path, given)
    assert (found.info.checkpoint_key, found.weights) == (INFO.checkpoint_key, given)


def test_given_weights_of_another_network_are_refused():
    with pytest.raises(WeightsError, match="does not hold the network of"):
        resolve(FEATURES, random_weights(INFO.network))
    with pytest.raises(WeightsError, match="ends at the feature vector"):
        resolve(INFO, random_weights(INFO.network, logits=False))


@pytest.mark.parametrize("spec", [3, None, ["a", "b"]])
def test_what_names_no_module_is_an_error(spec):
    with pytest.raises(InputTypeError, match=r"Unknown module spec type.*: a handle or a path"):
        resolve(spec)
    with pytest.raises(InputTypeError, match=r"Unknown module spec type.*: a handle or a path"):
        module_of(spec)


def test_what_is_no_weights_is_an_error():
    with pytest.raises(TypeError, match="weights must be Weights, a path or 'random'"):
        resolve(INFO, 3)


def test_a_file_that_fits_several_modules_is_named_with_them(tmp_path):
    weights_without_handle = random_weights(INFO.network)
    path = tmp_path / "some.safetensors"
    weights_without_handle.save(path)
    with pytest.raises(AmbiguousModuleError, match="mobilenet_v1_025_160") as caught:
        hub.Module(path)
    assert len(caught.value.candidates) == 4
    assert hub.Module(INFO.handle, weights=path).info == INFO
    only_one = find("google/imagenet/mobilenet_v2_130_224/feature_vector/3")
    random_weights(only_one.network, logits=False).save(path)
    assert hub.Module(path).info.checkpoint_key == "mobilenet_v2_130_224"


def test_a_load_checks_and_identifies_its_weights_once(tmp_path, counts):
    weights = random_weights(INFO.network)
    name = "mobilenet_v1_0.25_128"
    weights.save(tmp_path / f"{name}.safetensors")
    np.savez(tmp_path / f"{name}.npz", **weights.tensors)
    store.keep(weights, INFO)
    loads = {
        "a file": lambda: hub.Module(tmp_path / f"{name}.safetensors"),
        "a file of another format": lambda: hub.Module(tmp_path / f"{name}.npz"),
        "a file for a handle": lambda: hub.Module(INFO.handle, weights=tmp_path / f"{name}.npz"),
        "the cache": lambda: hub.Module(INFO.handle),
        "the package": lambda: hub.Module(FEATURES.handle),
        "weights that were loaded before": lambda: hub.Module(INFO.handle, weights=weights),
    }
    seen = {}
    for what, load in loads.items():
        counts.clear()
        load()
        seen[what] = (counts["_check_values"], counts["possible_modules"])
    assert seen == {
        "a file": (1, 1),
        "a file of another format": (1, 1),
        "a file for a handle": (1, 1),
        "the cache": (1, 0),
        "the package": (1, 0),
        "weights that were loaded before": (0, 0),
    }
