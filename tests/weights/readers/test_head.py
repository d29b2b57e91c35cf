"""What follows a network is multiplied out to the layers it is, or refused whole."""

from __future__ import annotations

import numpy as np
import pytest

from mobilenet_hub.weights.readers.base import Reading, UnreadHeadError
from mobilenet_hub.weights.readers.dataflow import Constant, Dataflow, Node
from mobilenet_hub.weights.readers.head import (
    Dense,
    Features,
    Head,
    read_head,
    with_head,
    without_head,
)

RNG = np.random.default_rng(0)
INPUTS = 6
X = RNG.standard_normal((4, INPUTS)).astype(np.float32)


def graph(*operations):
    """A chain after `features`: (kind, arrays besides the value, fields of the node)."""
    nodes, constants, value = {}, {}, "features"
    for number, (kind, arrays, more) in enumerate(operations):
        names = [f"{number}/{position}" for position in range(len(arrays))]
        for name, array in zip(names, arrays, strict=True):
            constants[name] = Constant(array.shape, lambda array=array: array)
        nodes[f"value {number}"] = Node(f"value {number}", kind, (value, *names), **more)
        value = f"value {number}"
    return Dataflow(nodes, constants, "here")


def array(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def dense(inputs, units):
    kernel, biases = array(inputs, units), array(units)
    operations = [("matmul", [kernel], {"kernel_axes": (0, 1)}), ("add", [biases], {})]
    return Dense(kernel, biases), operations


POOLED = Features("features", INPUTS, pooled=True)


def test_a_dense_layer_is_what_it_was_bit_for_bit():
    layer, operations = dense(INPUTS, 3)
    head = read_head(graph(*operations, ("softmax", [], {})), POOLED)
    assert head.activation == "softmax" and head.hidden is None
    assert head.logits.kernel.tobytes() == layer.kernel.tobytes()
    assert head.logits.biases.tobytes() == layer.biases.tobytes()


def test_affine_operations_around_relu_become_two_layers():
    first, one = dense(INPUTS, 5)
    second, two = dense(5, 7)
    third, three = dense(7, 3)
    scale, shift = array(INPUTS), array(INPUTS)
    statistics = [array(7), array(7), array(7), np.abs(array(7))]
    chain = [
        ("mul", [scale], {}), ("sub", [shift], {}), *one, ("relu", [], {}), *two,
        ("batch_norm", statistics, {"epsilon": 0.01}), ("div", [np.float32(2)], {}), *three,
        ("sigmoid", [], {}),
    ]  # fmt: skip
    head = read_head(graph(*chain), POOLED)
    hidden = np.maximum((X * scale - shift) @ first.kernel + first.biases, 0)
    value = hidden @ second.kernel + second.biases
    gamma, beta, mean, variance = statistics
    value = ((value - mean) / np.sqrt(variance + 0.01) * gamma + beta) / 2
    expected = value @ third.kernel + third.biases
    found = np.maximum(X @ head.hidden.kernel + head.hidden.biases, 0)
    found = found @ head.logits.kernel + head.logits.biases
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert head.activation == "sigmoid"


def test_the_map_is_pooled_whole_or_refused():
    _, operations = dense(INPUTS, 3)
    features = Features("features", INPUTS, map_size=7)
    for window in (None, 7):
        assert read_head(graph(("pool", [], {"window": window}), *operations), features)
    for first in (("pool", [], {"window": 4}), ("Max", [], {})):
        with pytest.raises(UnreadHeadError, match="the mean of"):
            read_head(graph(first, *operations), features)
    with pytest.raises(UnreadHeadError, match="the mean of"):
        read_head(graph(*operations), features)


def test_nothing_after_the_features_is_no_head():
    assert read_head(graph(), POOLED) is None
    assert read_head(graph(("pool", [], {})), Features("features", INPUTS)) is None


@pytest.mark.parametrize(
    ("after", "message"),
    [
        ([("softmax", [], {})], "a dense layer at the end"),
        ([("relu", [], {})], "at most two with ReLU between"),
        (dense(5, 3)[1], r"a layer of 6 inputs.*Received: \(5, 3\)"),
        ([*dense(INPUTS, 3)[1], ("Tanh", [], {})], "Tanh"),
        ([*dense(INPUTS, 3)[1], ("add", [array(2)], {})], "1 or 3 scales and shifts"),
        ([*dense(INPUTS, 3)[1], ("softmax", [], {}), *dense(3, 2)[1]], "nothing computed after"),
        ([("mul", [array(1)], {})] * 60, "at most 50 operations"),
    ],
)
def test_what_is_no_such_head_is_refused(after, message):
    with pytest.raises(UnreadHeadError, match=message):
        read_head(graph(*after), POOLED)


def test_of_several_layers_on_the_features_only_imagenets_is_chosen():
    for classes in (1001, 3):
        kernels = {"a": array(INPUTS, classes), "b": array(INPUTS, 4)}
        nodes = {
            name: Node(name, "matmul" if name == "a" else "Min", ("features", f"{name}/kernel"),
                       kernel_axes=(0, 1))
            for name in kernels
        }  # fmt: skip
        constants = {
            f"{name}/kernel": Constant(kernel.shape, lambda kernel=kernel: kernel)
            for name, kernel in kernels.items()
        }
        flow = Dataflow(nodes, constants, "here")
        if classes == 1001:
            assert read_head(flow, POOLED).logits.kernel.shape == (INPUTS, 1001)
        else:
            with pytest.raises(UnreadHeadError, match="one layer on the features"):
                read_head(flow, POOLED)


def test_a_head_on_the_logits_of_a_network_is_multiplied_with_them():
    own, operations = Head(Dense(array(INPUTS, 8), array(8))), dense(8, 2)
    features = Features("features", INPUTS, pooled=True, through=own)
    head = read_head(graph(*operations[1]), features)
    expected = (X @ own.logits.kernel + own.logits.biases) @ operations[0].kernel
    found = X @ head.logits.kernel + head.logits.biases
    np.testing.assert_allclose(found, expected + operations[0].biases, rtol=1e-4, atol=1e-4)


def test_layers_go_among_the_tensors_and_come_back():
    tensors = {"MobilenetV2/Conv_1/weights": array(1, 1, 4, INPUTS)}
    _, operations = dense(INPUTS, 3)
    reading = with_head(Reading(tensors, "x"), graph(*operations), POOLED)
    head = Head.of(reading.tensors)
    assert head.tensors("MobilenetV2").keys() == reading.tensors.keys() - tensors.keys()
    assert head.logits.kernel.shape == (INPUTS, 3)
    refused = with_head(Reading(tensors, "x"), graph(("Tanh", [], {})), POOLED)
    assert refused.tensors == tensors and "Tanh" in str(refused.unread)


@pytest.mark.parametrize(
    ("shape", "is_head"),
    [((6, 2), True), ((54, 2), True), ((1, 1, 6, 2), True), ((5, 2), False), ((6,), False),
     ((3, 3, 6, 2), False)],
)  # fmt: skip
def test_a_matrix_that_takes_the_features_is_never_passed_over(shape, is_head):
    reading = Reading({"MobilenetV2/Conv_1/weights": array(1, 1, 4, INPUTS)}, "x")
    found = without_head(reading, {"dense/kernel": shape, "MobilenetV2/slot": (6, 2)}, "here")
    assert (found.unread is not None) is is_head
