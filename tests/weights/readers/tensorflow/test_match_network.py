"""A network is found in a graph by its structure, or refused by what differs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import tensorflow_files as tff
from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.readers.tensorflow.graph_def import read_frozen_graph
from mobilenet_hub.weights.readers.tensorflow.tflite import read_tflite
from slim_networks import (
    V1,
    V2,
    random_tensors,
    write_graph,
)


def replaced(nodes, old, new, count=1):
    """The nodes with some bytes of the first `count` that have them replaced by as many others."""
    assert len(old) == len(new)
    result = []
    for each in nodes:
        if count and old in each:
            each, count = each.replace(old, new), count - 1
        result.append(each)
    assert count == 0
    return result


@pytest.mark.parametrize(
    ("net", "style", "old", "new", "message"),
    [
        (V1, "fused", b"\x05Relu6", b"\x05Relu5", "27 or 52 convolutions.*then Relu5"),
        (V2, "bias", b"\x05Relu6", b"\x05Tanh_", "27 or 52 convolutions"),
        (V1, "fused", b"SAME", b"VALI", "one convolution of an image"),
        (V2, "fused", b"Add\x1a", b"Sub\x1a", "27 or 52 convolutions"),
        (V2, "fused", b"NHWC", b"NCHW", "one convolution of an image|27 or 52"),
        (V1, "fused", b"\x28\x00", b"\x28\x01", "training mode"),
        (V1, "fused", b"\x05Const", b"\x05Varia", "frozen graph"),
    ],
)
def test_a_graph_that_differs_is_refused(tmp_path, net, style, old, new, message):
    nodes = replaced(tff.frozen_network(net, random_tensors(net), batch_norm=style), old, new)
    with pytest.raises(WeightsError, match=message):
        read_frozen_graph(write_graph(tmp_path, nodes))


@pytest.mark.parametrize("style", ["fused", "unfused"])
def test_another_epsilon_is_refused(tmp_path, style):
    nodes = tff.frozen_network(V1, random_tensors(V1), batch_norm=style, epsilon=1e-5)
    with pytest.raises(WeightsError, match=r"epsilon 0\.001 .*Received: .*e-0"):
        read_frozen_graph(write_graph(tmp_path, nodes))


def test_valid_padding_is_refused(tmp_path):
    nodes = tff.frozen_network(V1, random_tensors(V1), padding="VALID")
    with pytest.raises(WeightsError, match=r"SAME padding .*Received: VALID"):
        read_frozen_graph(write_graph(tmp_path, nodes))


def changed(net, scope, **changes):
    """The network with something different in one layer."""
    layers = [replace(x, **changes) if x.scope.endswith(scope) else x for x in net.layers]
    return replace(net, layers=tuple(layers))


@pytest.mark.parametrize(
    ("net", "scope", "changes", "message"),
    [
        (
            V2,
            "conv_5/project",
            {"residual": None},
            "added after MobilenetV2/expanded_conv_5/project",
        ),
        (V2, "conv_5/project", {"residual": "MobilenetV2/Conv"}, "added after .*conv_5/project"),
        (V2, "conv_6/project", {"residual": "MobilenetV2/Conv"}, "nothing added after"),
        (V2, "conv_6/project", {"activation": "relu6"}, r"no activation after .*conv_6/project"),
        (
            V2,
            "conv_5/expand",
            {"activation": None},
            "relu6 after .*conv_5/expand",
        ),
        (V1, "Conv2d_4_depthwise", {"stride": 1}, "stride .* for MobilenetV1/Conv2d_4_depthwise"),
    ],
)
def test_a_layer_that_differs_is_refused_by_name(tmp_path, net, scope, changes, message):
    wrong = changed(net, scope, **changes)
    nodes = tff.frozen_network(wrong, random_tensors(net))
    with pytest.raises(WeightsError, match=message):
        read_frozen_graph(write_graph(tmp_path, nodes))
    (tmp_path / "x.tflite").write_bytes(tff.tflite_network(wrong, random_tensors(net)))
    with pytest.raises(WeightsError, match=message):
        read_tflite(tmp_path / "x.tflite")


def test_kernels_that_do_not_fit_together_are_refused(tmp_path):
    tensors = random_tensors(V1)
    layer = V1.layers[2]
    tensors[layer.weights_name] = np.ones((1, 1, 9, layer.out_channels), np.float32)
    with pytest.raises(WeightsError, match=f"8 channels into {layer.scope}.*Received: 9"):
        read_frozen_graph(write_graph(tmp_path, tff.frozen_network(V1, tensors)))
    tensors = random_tensors(V1)
    tensors[layer.batch_norm_name("beta")] = np.ones(3, np.float32)
    with pytest.raises(WeightsError, match=f"beta of 8 channels for {layer.scope}"):
        read_frozen_graph(write_graph(tmp_path, tff.frozen_network(V1, tensors)))


def test_quantised_training_is_refused(tmp_path):
    nodes = tff.frozen_network(V1, random_tensors(V1))
    name = V1.layers[3].weights_name
    fake = tff.node(f"{name}/read", "FakeQuantWithMinMaxVars", [name])
    nodes = [fake if n.startswith(tff.proto((1, f"{name}/read"))) else n for n in nodes]
    with pytest.raises(WeightsError, match=r"trained for quantisation.*FakeQuant"):
        read_frozen_graph(write_graph(tmp_path, nodes))
