"""Float TFLite files are read from the flatbuffer; others are refused."""

from __future__ import annotations

import numpy as np
import pytest

import tensorflow_files as tff
from mobilenet_hub.errors import WeightsError
from mobilenet_hub.networks import network
from mobilenet_hub.weights.random_weights import random_weights
from mobilenet_hub.weights.readers import read
from mobilenet_hub.weights.readers.tensorflow.tflite import read_tflite
from slim_networks import (
    V1,
    V2,
    assert_equal,
    folded_tensors,
)


@pytest.mark.parametrize("net", [V1, V2], ids=["v1", "v2"])
def test_a_tflite_file_is_read_with_its_batch_norm_folded(tmp_path, net):
    tensors = folded_tensors(net)
    (tmp_path / "x.tflite").write_bytes(tff.tflite_network(net, tensors))
    reading = read_tflite(tmp_path / "x.tflite")
    assert_equal(reading.tensors, tensors)
    assert reading.folded == tuple(layer.scope for layer in net.convolutions)


def test_a_tflite_file_with_half_precision_kernels_is_widened_exactly(tmp_path):
    tensors = folded_tensors(V1)
    (tmp_path / "x.tflite").write_bytes(tff.tflite_network(V1, tensors, dtype="float16"))
    for layer in V1.layers:
        kernel = tensors[layer.weights_name]
        tensors[layer.weights_name] = kernel.astype(np.float16).astype(np.float32)
    assert_equal(read_tflite(tmp_path / "x.tflite").tensors, tensors)


def test_a_quantised_tflite_file_is_refused(tmp_path):
    (tmp_path / "x.tflite").write_bytes(tff.tflite_network(V1, folded_tensors(V1), dtype="int8"))
    with pytest.raises(WeightsError, match=r"quantised.*Received: int8"):
        read_tflite(tmp_path / "x.tflite")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"TFL3",
        b"\0" * 100,
        b"\xff\xff\xff\x7fTFL3" + b"\0" * 100,
        b"\x08\0\0\0TFL3" + b"\xff" * 9,
    ],
)
def test_what_is_no_tflite_file_is_refused(tmp_path, data):
    (tmp_path / "x.tflite").write_bytes(data)
    with pytest.raises(WeightsError, match="Received: "):
        read_tflite(tmp_path / "x.tflite")


@pytest.mark.parametrize("classes", [1001, 5])
def test_logits_as_a_matrix_product_are_kept(tmp_path, classes):
    net = network("mobilenet_v2", 0.35, classes)
    tensors = dict(random_weights(net).tensors)
    (tmp_path / "x.tflite").write_bytes(tff.tflite_network(net, tensors, dense=True))
    reading = read_tflite(tmp_path / "x.tflite")
    for name in ("weights", "biases"):
        name = f"{net.logits.scope}/{name}"
        assert reading.tensors[name].tobytes() == tensors[name].tobytes()
    assert not any("no classification layer" in note for note in reading.notes)


def test_a_head_that_ends_otherwise_is_not_kept(tmp_path):
    net = network("mobilenet_v2", 0.35, 128)
    tensors = dict(random_weights(net).tensors)
    data = tff.tflite_network(net, tensors, dense=True, activation=1)  # ReLU before softmax
    (tmp_path / "x.tflite").write_bytes(data)
    reading = read_tflite(tmp_path / "x.tflite")
    assert not any("/Logits/" in name for name in reading.tensors)
    assert "a dense layer at the end" in str(reading.unread)
    with pytest.raises(WeightsError, match="none is left out unasked"):
        read(tmp_path / "x.tflite")
    handle = "google/imagenet/mobilenet_v2_035_224/feature_vector/5"
    assert not read(tmp_path / "x.tflite", handle=handle).has_logits
