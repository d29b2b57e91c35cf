"""Frozen graphs and TFLite files: the network is found by structure, or refused by difference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import tensorflow_files as tff
from mobilenet_hub.errors import WeightsError
from mobilenet_hub.networks import network
from mobilenet_hub.weights import from_tensors
from mobilenet_hub.weights.random_weights import random_weights
from mobilenet_hub.weights.readers import read
from mobilenet_hub.weights.readers.base import folded_batch_norm
from mobilenet_hub.weights.readers.tensorflow.graph_def import read_frozen_graph
from mobilenet_hub.weights.readers.tensorflow.tflite import read_tflite

V1, V2 = network("mobilenet_v1", 0.01, 5), network("mobilenet_v2", 0.01, 5)  # kilobytes


def random_tensors(net, *, logits=True):
    rng = np.random.default_rng(1)
    shapes = net.variables(logits=logits)
    return {name: rng.random(shape, np.float32) + 0.5 for name, shape in shapes.items()}


def folded_tensors(net, *, scale=False):
    """Tensors whose batch norm is only a bias (and a scale), as the readers represent it."""
    tensors = random_tensors(net)
    for layer in net.convolutions:
        gamma, beta = (tensors[layer.batch_norm_name(name)] for name in ("gamma", "beta"))
        for name, array in folded_batch_norm(beta, gamma if scale else None).items():
            tensors[layer.batch_norm_name(name)] = array
    return tensors


def assert_equal(tensors, expected):
    assert sorted(tensors) == sorted(expected)
    for name, array in expected.items():
        assert tensors[name].dtype == np.float32, name
        assert tensors[name].shape == array.shape, name
        assert tensors[name].tobytes() == array.tobytes(), name


def write_graph(tmp_path, nodes):
    path = tmp_path / "frozen.pb"
    path.write_bytes(tff.graph_def(nodes))
    return path


# Batch norm --------------------------------------------------------------------------------------


def test_a_folded_batch_norm_reproduces_kernel_and_bias_bit_for_bit():
    rng = np.random.default_rng(0)
    kernel = (rng.standard_normal(1_000_000) * 10.0 ** rng.uniform(-30, 30, 1_000_000)).astype("f4")
    bias = rng.standard_normal(4).astype(np.float32)
    for scale in (None, rng.standard_normal(4).astype(np.float32)):
        statistics = folded_batch_norm(bias, scale)
        for dtype in (np.float32, np.float64):
            gamma, beta, mean, variance = (statistics[n].astype(dtype) for n in statistics)
            factor = gamma / np.sqrt(variance + dtype(0.001))
            if scale is None:
                folded = (kernel.astype(dtype) * factor[0]).astype(np.float32)
                assert folded.tobytes() == kernel.tobytes()
            else:
                assert factor.astype(np.float32).tobytes() == scale.tobytes()
            assert (beta - mean * factor).astype(np.float32).tobytes() == bias.tobytes()


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


# The image ---------------------------------------------------------------------------------------

PLACEHOLDER = tff.node("x", "Placeholder")


def number(value, name="n"):
    return tff.const(name, np.asarray(value, np.float32))


@pytest.mark.parametrize(
    ("image", "note"),
    [
        ([PLACEHOLDER, tff.node("input", "Identity", ["x"])], "[-1, 1]"),
        (
            [PLACEHOLDER, number(2), number(1, "one"), tff.node("y", "Mul", ["x", "n"]),
             tff.node("input", "Sub", ["y", "one"])],
            "[0, 1]",
        ),
        (
            [PLACEHOLDER, number(127.5), number(1, "one"), tff.node("y", "RealDiv", ["x", "n"]),
             tff.node("input", "Sub", ["y", "one"])],
            "[0, 255]",
        ),
        (
            [PLACEHOLDER, number(1 / 255), number([0.5] * 3, "half"), number(2, "two"),
             tff.node("f", "Cast", ["x"]), tff.node("b", "ExpandDims", ["f", "n"]),
             tff.node("m", "Mul", ["n", "b"]), tff.node("r", "ResizeBilinear", ["m", "n"]),
             tff.node("s", "Sub", ["r", "half"]), tff.node("input", "Mul", ["s", "two"])],
            "[0, 255]",
        ),
    ],
)  # fmt: skip
def test_images_may_be_scaled_in_the_graph_as_the_network_does(tmp_path, image, note):
    tensors = random_tensors(V1)
    nodes = tff.frozen_network(V1, tensors, image=image)
    reading = read_frozen_graph(write_graph(tmp_path, nodes))
    assert_equal(reading.tensors, tensors)
    assert reading.notes == (f"The file takes images in {note}.",)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            [PLACEHOLDER, number(0.5), number(1.5, "s"), tff.node("y", "Sub", ["x", "n"]),
             tff.node("input", "Mul", ["y", "s"])],
            r"1\.5 x -0\.75",
        ),
        ([PLACEHOLDER, number([103.9, 116.8, 123.7]), tff.node("input", "Sub", ["x", "n"])],
         "one number for all channels"),
        ([PLACEHOLDER, number(1), tff.node("input", "Sub", ["n", "x"])], "and one number"),
        ([PLACEHOLDER, number(0), tff.node("input", "Div", ["x", "n"])], "divide by"),
        ([PLACEHOLDER, number(np.nan), tff.node("input", "Mul", ["x", "n"])], "one number"),
        ([PLACEHOLDER, tff.node("input", "Mul", ["x", "x"])], "a number and the image"),
    ],
)  # fmt: skip
def test_images_scaled_otherwise_are_refused(tmp_path, image, message):
    nodes = tff.frozen_network(V1, random_tensors(V1), image=image)
    with pytest.raises(WeightsError, match=message):
        read_frozen_graph(write_graph(tmp_path, nodes))


def test_bytes_scaled_otherwise_are_kept_with_classes_of_ones_own_and_refused_without(tmp_path):
    image = [
        PLACEHOLDER, number(128), number(1 / 128, "s"), tff.node("y", "Sub", ["x", "n"]),
        tff.node("input", "Mul", ["y", "s"]),
    ]  # fmt: skip
    net = network("mobilenet_v1", 0.25, 5)
    path = write_graph(tmp_path, tff.frozen_network(net, random_tensors(net), image=image))
    assert read(path).classifier.input_range == (-1, 127 / 128)
    net = network("mobilenet_v1", 0.25)
    path = write_graph(tmp_path, tff.frozen_network(net, random_tensors(net), image=image))
    with pytest.raises(WeightsError, match=r"expected \[-1, 1\]. Received: \[-1, 0.992188\]"):
        read(path)


# What is almost a MobileNet ----------------------------------------------------------------------


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


# TFLite ------------------------------------------------------------------------------------------


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


# Logits that are a matrix product -----------------------------------------------------------------


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
