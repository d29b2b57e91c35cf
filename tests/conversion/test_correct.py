"""Corrections: every channel is in int8, in the mean, what it is in float32."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration_support import clouds, measured
from mobilenet_hub.graph import build_graph
from mobilenet_hub.graph.int8 import QuantizedBuilder
from mobilenet_hub.runtime import Runner, make_engine
from mobilenet_hub.settings import Compute
from weights_support import load_bundled

NETWORKS = {
    "mobilenet_v2_035_224": ("MobilenetV2/layer_4/output", "MobilenetV2/layer_12/output"),
    "mobilenet_v1_025_224": ("MobilenetV1/Conv2d_3_pointwise", "MobilenetV1/Conv2d_9_depthwise"),
}


def channel_means(weights, endpoints, calibration=None):
    """Of the features and of endpoints, on the pictures that calibrated."""

    def build(spec):
        return build_graph(
            weights, "feature_vector", endpoints=endpoints, input_dtype=spec.input_dtype,
            size=(spec.height, spec.width),
            builder=QuantizedBuilder(weights, calibration) if calibration else None,
        )  # fmt: skip

    run = Runner(build, make_engine(Compute(precision="int8" if calibration else "float32")))
    outputs = run(clouds(), endpoints)
    return [value.mean(tuple(range(value.ndim - 1))) for value in outputs.values()]


@pytest.mark.parametrize("name", NETWORKS)
def test_channels_have_the_means_of_float32_on_the_photos_that_calibrated(name):
    weights, endpoints = load_bundled(name), NETWORKS[name]
    calibration = measured(weights)
    zeros = {scope: np.zeros_like(values) for scope, values in calibration.corrections.items()}
    exact = channel_means(weights, endpoints)
    corrected = channel_means(weights, endpoints, calibration)
    without = channel_means(weights, endpoints, replace(calibration, corrections=zeros))
    for expected, means, others in zip(exact, corrected, without, strict=True):
        error = np.abs(means - expected).mean()
        assert error < 0.25 * np.abs(others - expected).mean()
        assert error < 0.03 * np.abs(expected).mean()
