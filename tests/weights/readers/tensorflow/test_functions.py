"""Functions of a SavedModel are written out, calls in calls, and never without end."""

from __future__ import annotations

import numpy as np
import pytest

import tensorflow_files as tff
from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.readers.tensorflow.functions import read_signature
from mobilenet_hub.weights.readers.tensorflow.match_network import read_network
from mobilenet_hub.weights.readers.tensorflow.tensor_bundle import TensorBundle
from slim_networks import V1, assert_equal, random_tensors


@pytest.fixture
def bundle(tmp_path):
    tff.write_bundle(tmp_path / "variables", random_tensors(V1))
    return TensorBundle(tmp_path / "variables")


def test_a_function_that_a_signature_calls_is_the_network(tmp_path, bundle):
    tensors = random_tensors(V1)
    nodes = tff.frozen_network(V1, tensors)
    path = tmp_path / "saved_model.pb"
    path.write_bytes(tff.saved_function(nodes, "input", "probabilities"))
    reading = read_network(read_signature(path, bundle), "SavedModel", None)
    assert_equal(reading.tensors, tensors)
    assert reading.activation == "softmax"


def test_a_function_that_calls_itself_is_refused(tmp_path, bundle):
    call = tff.node("again", "PartitionedCall", ["input"], f=tff.proto((10, tff.proto((1, "run")))))
    path = tmp_path / "saved_model.pb"
    path.write_bytes(tff.saved_function([call], "input", "again"))
    with pytest.raises(WeightsError, match="called at most 32 deep"):
        read_signature(path, bundle)


def test_a_function_that_is_not_there_is_refused(tmp_path, bundle):
    call = tff.node("y", "PartitionedCall", ["input"], f=tff.proto((10, tff.proto((1, "other")))))
    path = tmp_path / "saved_model.pb"
    path.write_bytes(tff.saved_function([call], "input", "y"))
    with pytest.raises(WeightsError, match="functions of its own"):
        read_signature(path, bundle)


def test_variables_of_tensorflow_1_are_known_by_their_names(tmp_path, bundle):
    name = V1.layers[0].weights_name
    graph = tff.proto((1, tff.node(name, "VariableV2")), (1, tff.node("read", "Identity", [name])))
    signature = tff.proto((1, "default"), (2, tff.proto((2, tff.proto((1, "y"), (2, b""))))))
    path = tmp_path / "saved_model.pb"
    path.write_bytes(tff.proto((1, 1), (2, tff.proto((2, graph), (5, signature)))))
    flow = read_signature(path, bundle)
    np.testing.assert_array_equal(flow.load(flow.origin("read")), random_tensors(V1)[name])
