"""The ONNX graph: a valid model that computes the network."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from mobilenet_hub.errors import OutputError
from mobilenet_hub.graph import build_graph, fold_batch_norm
from mobilenet_hub.networks import BATCH_NORM_EPSILON, network
from mobilenet_hub.weights import from_tensors
from mobilenet_hub.weights.random_weights import random_weights


@pytest.fixture(scope="module")
def weights():
    """A small V2 with batch norm statistics that are not the identity."""
    net = network("mobilenet_v2", 0.35, 11)
    generator = np.random.default_rng(5)
    tensors = dict(random_weights(net).tensors)
    for name, value in tensors.items():
        if "BatchNorm" in name:
            tensors[name] = generator.uniform(0.5, 1.5, value.shape).astype(np.float32)
    return from_tensors(tensors)


@pytest.mark.parametrize("task", ["classification", "feature_vector"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("size", [(64, 64), None])
def test_the_model_passes_onnxs_checker(weights, task, dtype, size):
    model = onnx.load_from_string(
        build_graph(weights, task, input_dtype=dtype, size=size).to_bytes()
    )
    onnx.checker.check_model(model, full_check=True)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_the_model_computes_the_layers_as_written(weights):
    """Against ONNX's own slow evaluator on a small image, and a plain NumPy walk of the layers."""
    images = np.random.default_rng(0).random((1, 19, 33, 3), np.float32)
    endpoint = "MobilenetV2/layer_4/output"
    graph = build_graph(weights, "feature_vector", endpoints=[endpoint], size=(19, 33))
    _, value = ReferenceEvaluator(graph.to_bytes()).run(None, {"images": images})
    np.testing.assert_allclose(value, _walk(weights, images, "layer_4"), rtol=0, atol=2e-4)


def _walk(weights, images, stop):
    outputs, value = {}, 2 * images.astype(np.float64) - 1
    for layer in weights.network.convolutions:
        value = _convolve(layer, weights.tensors, value)
        gamma, beta, mean, variance = (
            weights.tensors[layer.batch_norm_name(n)].astype(np.float64)
            for n in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        value = gamma * (value - mean) / np.sqrt(variance + BATCH_NORM_EPSILON) + beta
        if layer.activation == "relu6":
            value = np.clip(value, 0, 6)
        if layer.residual:
            value = value + outputs[layer.residual]
        outputs[layer.scope] = value
        if stop in layer.endpoints:
            return value
    raise AssertionError(stop)


def _convolve(layer, tensors, value):
    """SAME: the total padding split in two, the larger half at the end."""
    kernel = tensors[layer.weights_name].astype(np.float64)
    _, height, width, _ = value.shape
    pads, sizes = [], []
    for extent in (height, width):
        out = -(-extent // layer.stride)
        total = max((out - 1) * layer.stride + layer.kernel - extent, 0)
        pads.append((total // 2, total - total // 2))
        sizes.append(out)
    padded = np.pad(value, ((0, 0), *pads, (0, 0)))
    result = 0
    for row in range(layer.kernel):
        for column in range(layer.kernel):
            window = padded[
                :,
                row : row + sizes[0] * layer.stride : layer.stride,
                column : column + sizes[1] * layer.stride : layer.stride,
            ][:, : sizes[0], : sizes[1]]
            if layer.kind == "depthwise":
                result = result + window * kernel[row, column, :, 0]
            else:
                result = result + window @ kernel[row, column]
    return result


def test_folding_is_exact_to_float32(weights):
    layer = weights.network.convolutions[3]
    kernel, bias = fold_batch_norm(layer, weights.tensors)
    assert kernel.shape == layer.weights_shape
    assert kernel.dtype == bias.dtype == np.float32


def test_an_unknown_endpoint_is_refused_with_those_there_are(weights):
    with pytest.raises(
        OutputError, match=r"MobilenetV2/layer_19.*Received: 'MobilenetV2/layer_20'"
    ):
        build_graph(weights, "feature_vector", endpoints=["MobilenetV2/layer_20"])


def test_classification_needs_logits():
    weights = random_weights(network("mobilenet_v1", 0.25), logits=False)
    with pytest.raises(OutputError, match="logits"):
        build_graph(weights, "classification")
