"""Frozen graphs are read node by node, constants in each of their forms."""

from __future__ import annotations

import numpy as np
import pytest

import tensorflow_files as tff
from mobilenet_hub.errors import WeightsError
from mobilenet_hub.networks import network
from mobilenet_hub.weights import from_tensors
from mobilenet_hub.weights.random_weights import random_weights
from mobilenet_hub.weights.readers.tensorflow.graph_def import read_frozen_graph
from slim_networks import (
    V1,
    V2,
    assert_equal,
    folded_tensors,
    random_tensors,
    write_graph,
)


@pytest.mark.parametrize("names", [True, False])
@pytest.mark.parametrize("style", ["fused", "unfused"])
@pytest.mark.parametrize("net", [V1, V2], ids=["v1", "v2"])
def test_an_unfolded_graph_gives_all_statistics_with_or_without_names(tmp_path, net, style, names):
    tensors = random_tensors(net)
    nodes = tff.frozen_network(net, tensors, batch_norm=style, names=names)
    reading = read_frozen_graph(write_graph(tmp_path, nodes))
    assert_equal(reading.tensors, tensors)
    assert not reading.folded
    assert reading.format == "frozen TensorFlow graph"


@pytest.mark.parametrize("names", [True, False])
@pytest.mark.parametrize(("style", "scale"), [("bias", False), ("scaled", True)])
@pytest.mark.parametrize("net", [V1, V2], ids=["v1", "v2"])
def test_a_folded_graph_says_which_layers_are_folded(tmp_path, net, style, scale, names):
    tensors = folded_tensors(net, scale=scale)
    nodes = tff.frozen_network(net, tensors, batch_norm=style, names=names)
    reading = read_frozen_graph(write_graph(tmp_path, nodes))
    assert_equal(reading.tensors, tensors)
    assert reading.folded
    assert reading.folded == tuple(layer.scope for layer in net.convolutions)


def test_a_graph_of_a_published_size_is_recognised(tmp_path):
    weights = random_weights(network("mobilenet_v2", 0.35), logits=False)
    nodes = tff.frozen_network(weights.network, weights.tensors)
    reading = read_frozen_graph(write_graph(tmp_path, nodes))
    assert from_tensors(reading.tensors).network == weights.network
    assert "features only" in " ".join(reading.notes)


def test_a_uniform_constant_may_be_stored_as_one_number(tmp_path):
    tensors = random_tensors(V1)
    name = V1.layers[0].batch_norm_name("moving_mean")
    tensors[name] = np.full_like(tensors[name], 0.25)
    shape = tff.shape_proto(tensors[name].shape)
    once = tff.proto((8, tff.proto((1, 1), (2, shape), (5, 0.25))))
    nodes = [
        tff.node(name, "Const", value=once) if name.encode() in n and b"\x05Const" in n else n
        for n in tff.frozen_network(V1, tensors)
    ]
    assert_equal(read_frozen_graph(write_graph(tmp_path, nodes)).tensors, tensors)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "operations in it"),
        (b"node {\n  name: 'x'\n}", "Cannot read"),
        (tff.graph_def([tff.node("a", "NoOp"), tff.node("a", "NoOp")]), "names of their own"),
        (tff.graph_def([tff.node("a", "Identity", ["b"]), tff.node("b", "Identity", ["a"])]),
         "one convolution"),
        (tff.graph_def([tff.node("a", "Identity", ["b"]), tff.node("b", "Identity", ["a"]),
                        tff.node("c", "Conv2D", ["a", "b"])]), "without cycles"),
        (tff.graph_def([tff.node("a", "Const")]), "a value in each constant"),
    ],
)  # fmt: skip
def test_what_is_no_frozen_graph_is_refused(tmp_path, data, message):
    (tmp_path / "x.pb").write_bytes(data)
    with pytest.raises(WeightsError, match=message):
        read_frozen_graph(tmp_path / "x.pb")


def test_the_graph_of_a_saved_model_points_to_its_folder(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(WeightsError, match="load the directory"):
        read_frozen_graph(tmp_path / "saved_model.pb")
