"""Models of TensorFlow.js are read bit for bit, from beside their manifest only."""

from __future__ import annotations

import json

import pytest

from keras_files import (
    as_tensorflow_js,
    numbers,
    write_tensorflow_js,
)
from mobilenet_hub.errors import MissingWeightsError, WeightsError
from mobilenet_hub.networks import network
from mobilenet_hub.weights.readers import read
from mobilenet_hub.weights.readers.keras.tensorflow_js import read_tensorflow_js

V1, V2 = network("mobilenet_v1", 0.25), network("mobilenet_v2", 0.35)


NETWORKS = pytest.mark.parametrize("net", [V1, V2], ids=["V1", "V2"])


def assert_equal(tensors, expected):
    assert sorted(tensors) == sorted(expected)
    assert all(tensors[name].tobytes() == array.tobytes() for name, array in expected.items())


@NETWORKS
def test_a_tensorflow_js_model_is_read_bit_for_bit(tmp_path, net):
    tensors, as_keras = numbers(net)
    write_tensorflow_js(tmp_path, as_tensorflow_js(net, as_keras))
    assert_equal(read(tmp_path / "model.json").tensors, tensors)
    assert_equal(read(tmp_path).tensors, tensors)


def test_rounded_tensorflow_js_weights_are_refused(tmp_path):
    _, as_keras = numbers(V1)
    quantised = {"quantization": {"dtype": "uint8", "scale": 1, "min": 0}}
    write_tensorflow_js(tmp_path, as_tensorflow_js(V1, as_keras), **quantised)
    with pytest.raises(WeightsError, match="rounded weights"):
        read_tensorflow_js(tmp_path)


@pytest.mark.parametrize("path", ["../weights.bin", "/etc/passwd", "..", "", "a/b", 3])
def test_tensorflow_js_weights_lie_beside_their_manifest(tmp_path, path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(100))
    manifest = {"weightsManifest": [{"paths": [path], "weights": []}]}
    (folder / "model.json").write_text(json.dumps(manifest))
    with pytest.raises(WeightsError, match="plain names"):
        read_tensorflow_js(folder)


def test_a_missing_or_short_shard_is_an_error(tmp_path):
    _, as_keras = numbers(V1)
    write_tensorflow_js(tmp_path, as_tensorflow_js(V1, as_keras))
    last = sorted(tmp_path.glob("*.bin"))[-1]
    last.write_bytes(last.read_bytes()[:-4])
    with pytest.raises(WeightsError, match="bytes for"):
        read_tensorflow_js(tmp_path)
    last.unlink()
    with pytest.raises(MissingWeightsError, match=last.name):
        read_tensorflow_js(tmp_path)
