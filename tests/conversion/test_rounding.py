"""Rounding kernels so that what a layer gives changes least."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from calibration_support import clouds
from mobilenet_hub.conversion.rounding import moments, rounded_up, windows
from mobilenet_hub.graph.float32 import Builder
from mobilenet_hub.graph.onnx_format import Port
from weights_support import load_bundled


@pytest.fixture(scope="module")
def weights():
    return load_bundled("mobilenet_v2_035_224")


def convolved(weights, layer, given, kernel):
    """By ONNX Runtime: [photos, height, width, channels]."""
    builder = Builder(weights)
    builder.graph.inputs.append(Port("given", given.transpose(0, 3, 1, 2).shape))
    output = builder.node_of(layer, ["given", builder.constant("kernel", kernel)])
    builder.graph.outputs.append(Port(output, ("batch", layer.out_channels, None, None)))
    session = onnxruntime.InferenceSession(
        builder.graph.to_bytes(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"given": given.transpose(0, 3, 1, 2)})[0].transpose(0, 2, 3, 1)


def inputs_and_kernel(layer, seed=0):
    rng = np.random.default_rng(seed)
    pictures = clouds(3, size=27).astype(np.float32) / 64  # neighbours are alike
    given = pictures[..., rng.integers(0, 3, layer.in_channels)]
    depth = 1 if layer.kind == "depthwise" else layer.in_channels
    kernel = rng.normal(0, 20, (layer.out_channels, depth, layer.kernel, layer.kernel))
    return given, kernel.astype(np.float32)


@pytest.mark.parametrize("number", [0, 1, 2, 4, 6])  # full, depthwise of stride 1 and 2, pointwise
def test_windows_times_kernels_are_what_the_layer_gives(weights, number):
    layer = weights.network.convolutions[number]
    given, kernel = inputs_and_kernel(layer)
    seen = windows(layer, given)
    product = kernel.reshape(len(seen), -1, seen.shape[1]) @ seen
    expected = convolved(weights, layer, given, kernel)
    np.testing.assert_allclose(
        product.reshape(layer.out_channels, -1).T, expected.reshape(-1, layer.out_channels),
        rtol=1e-4, atol=1e-2,
    )  # fmt: skip


@pytest.mark.parametrize("number", [0, 1, 2, 4])
def test_what_a_layer_gives_changes_less_than_by_rounding_to_the_nearest(weights, number):
    layer = weights.network.convolutions[number]
    given, kernel = inputs_and_kernel(layer)
    up = rounded_up(layer, kernel, moments(layer, given))
    exact = convolved(weights, layer, given, kernel)
    errors = [
        np.square(convolved(weights, layer, given, rounded) - exact).mean((0, 1, 2))
        for rounded in (np.floor(kernel) + up.astype(np.float32), np.rint(kernel))
    ]
    assert (errors[0] <= errors[1] * 1.001).all()
    assert errors[0].sum() < 0.5 * errors[1].sum()


def test_whole_numbers_stay(weights):
    layer = weights.network.convolutions[0]
    given, kernel = inputs_and_kernel(layer)
    assert not rounded_up(layer, np.rint(kernel), moments(layer, given)).any()
