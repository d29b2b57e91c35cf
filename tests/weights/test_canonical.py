"""Canonical weights: strict, reproducible, with their provenance."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from mobilenet_hub.catalog import find, modules
from mobilenet_hub.errors import MissingWeightsError, TensorMismatchError, WeightsError
from mobilenet_hub.networks import network
from mobilenet_hub.weights import from_tensors, load
from mobilenet_hub.weights.canonical import to_bytes
from mobilenet_hub.weights.random_weights import random_weights
from mobilenet_hub.weights.storage.origins import BUNDLED
from mobilenet_hub.weights.storage.store import load_weights
from weights_support import load_bundled

SMALL = network("mobilenet_v1", 0.25)


@pytest.fixture(scope="module")
def weights():
    return random_weights(SMALL, seed=1)


def test_what_is_saved_is_what_is_loaded(weights, tmp_path):
    digest = weights.save(tmp_path / "w.safetensors")
    loaded = load(tmp_path / "w.safetensors", sha256=digest)
    assert loaded.network == SMALL
    assert loaded.sha256 == digest
    assert list(loaded.tensors) == list(weights.tensors)
    assert loaded.metadata["source"] == weights.metadata["source"]
    for name, value in weights.tensors.items():
        np.testing.assert_array_equal(loaded.tensors[name], value)


def test_equal_weights_make_equal_bytes(weights):
    again = from_tensors(dict(reversed(weights.tensors.items())), metadata=weights.metadata)
    assert to_bytes(again) == to_bytes(weights)


@pytest.mark.parametrize(
    "key", sorted({(r.family, r.depth_multiplier) for r in modules().values()})
)
@pytest.mark.parametrize("logits", [True, False])
def test_the_network_is_known_from_the_shapes(key, logits):
    net = network(*key)
    tensors = {n: np.zeros(s, np.float32) for n, s in net.variables(logits=logits).items()}
    found = from_tensors(tensors)
    assert found.network == net
    assert found.has_logits is logits


def test_another_number_of_classes_is_kept():
    net = network("mobilenet_v2", 0.35, 7)
    assert from_tensors(random_weights(net).tensors).network.num_classes == 7


def test_all_that_does_not_fit_is_listed_at_once(weights):
    tensors = dict(weights.tensors)
    del tensors["MobilenetV1/Conv2d_0/BatchNorm/gamma"]
    tensors["MobilenetV1/Conv2d_0/weights"] = np.zeros((3, 3, 3, 9), np.float32)
    tensors["MobilenetV1/Conv2d_99/weights"] = np.zeros((1,), np.float32)
    with pytest.raises(TensorMismatchError) as error:
        from_tensors(tensors)
    assert error.value.missing == ("MobilenetV1/Conv2d_0/BatchNorm/gamma",)
    assert error.value.extra == ("MobilenetV1/Conv2d_99/weights",)
    assert len(error.value.misshapen) == 1
    assert "expected 3×3×3×8, received 3×3×3×9" in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(weights, value):
    tensors = dict(weights.tensors)
    tensors["MobilenetV1/Conv2d_0/BatchNorm/beta"] = np.full(8, value, np.float32)
    with pytest.raises(WeightsError, match=r"finite.*Conv2d_0/BatchNorm/beta"):
        from_tensors(tensors)


def test_negative_variances_are_refused(weights):
    tensors = dict(weights.tensors)
    tensors["MobilenetV1/Conv2d_0/BatchNorm/moving_variance"] = np.full(8, -1, np.float32)
    with pytest.raises(WeightsError, match="negative"):
        from_tensors(tensors)


def test_integers_are_refused(weights):
    tensors = dict(weights.tensors)
    tensors["MobilenetV1/Conv2d_0/BatchNorm/beta"] = np.zeros(8, np.int32)
    with pytest.raises(WeightsError, match="float"):
        from_tensors(tensors)


def test_a_changed_file_is_refused(weights, tmp_path):
    path = tmp_path / "w.safetensors"
    digest = weights.save(path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=f"Expected sha256 {digest}"):
        load(path, sha256=digest)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a safetensors file at all",
        struct.pack("<Q", 1 << 62) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 2) + b"[]",
    ],
)
def test_other_files_are_refused(data, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(WeightsError):
        load(tmp_path / "x.safetensors")


def test_a_failed_write_leaves_the_old_file(weights, tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(OSError, match="disk full"):
        weights.save(path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_tensors_cannot_be_replaced(weights):
    with pytest.raises(TypeError):
        weights.tensors["MobilenetV1/Conv2d_0/weights"] = None
    with pytest.raises(ValueError, match="read-only"):
        weights.tensors["MobilenetV1/Conv2d_0/weights"][...] = 0


@pytest.mark.parametrize("key", BUNDLED)
def test_embedded_weights_say_what_they_are(key):
    weights = load_bundled(key)
    for field in ("handle", "source", "source_sha256", "converter_version", "license"):
        assert weights.metadata[field]
    assert len(weights.metadata["source_sha256"]) == 64
    assert weights.metadata["handle"].startswith(f"google/imagenet/{key}/")


def test_embedded_v1_says_that_it_is_an_earlier_training():
    text = json.dumps(dict(load_bundled("mobilenet_v1_025_224").metadata))
    assert "2018_02_22" in text
    assert "background" in text


@pytest.mark.parametrize("key", BUNDLED)
def test_embedded_weights_equal_the_reference_extraction(key, shared):
    names = {
        "mobilenet_v1_025_224": "mobilenet_v1_0.25_224_keras1000",
        "mobilenet_v2_035_224": "mobilenet_v2_0.35_224_features",
        "mobilenet_v2_100_224": "mobilenet_v2_1.0_224_features",
        "mobilenet_v2_140_224": "mobilenet_v2_1.4_224",
    }
    reference = np.load(shared / "weights" / f"{names[key]}.npz")
    tensors = load_bundled(key).tensors
    assert set(tensors) == set(reference.files)
    for name in reference.files:
        value = tensors[name]
        if key == "mobilenet_v1_025_224" and "/Logits/" in name:
            value = value[..., 1:]  # without the background
        np.testing.assert_array_equal(value, reference[name])


def test_v1_background_is_never_predicted():
    """Below the least that any other class can reach, for features anywhere in [0, 6]."""
    tensors = load_bundled("mobilenet_v1_025_224").tensors
    kernel = tensors["MobilenetV1/Logits/Conv2d_1c_1x1/weights"][0, 0].astype(np.float64)
    biases = tensors["MobilenetV1/Logits/Conv2d_1c_1x1/biases"].astype(np.float64)
    least = biases[1:] + 6 * np.minimum(kernel[:, 1:], 0).sum(0)
    assert not kernel[:, 0].any()
    assert biases[0] < least.min()


@pytest.mark.parametrize(
    "handle",
    [
        "google/imagenet/mobilenet_v2_050_96/feature_vector/3",
        "google/imagenet/mobilenet_v2_100_224/classification/3",
        "google/tf2-preview/mobilenet_v2/classification/4",
    ],
)
def test_weights_that_are_not_here_say_where_they_come_from(handle):
    with pytest.raises(MissingWeightsError) as error:
        load_weights(find(handle))
    assert find(handle).checkpoint_url in str(error.value)
    assert isinstance(error.value, FileNotFoundError)
