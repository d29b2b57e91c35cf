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


def mean_features(weights, calibration=None):
    """Of each channel, on the pictures that calibrated."""

    def build(spec):
        return build_graph(
            weights, "feature_vector", input_dtype=spec.input_dtype, size=(spec.height, spec.width),
            builder=QuantizedBuilder(weights, calibration) if calibration else None,
        )  # fmt: skip

    run = Runner(build, make_engine(Compute(precision="int8" if calibration else "float32")))
    return run(clouds())["default"].mean(0)


@pytest.mark.parametrize("name", ["mobilenet_v2_035_224", "mobilenet_v1_025_224"])
def test_features_have_the_means_of_float32_on_the_photos_that_calibrated(name):
    weights = load_bundled(name)
    calibration = measured(weights)
    zeros = {scope: np.zeros_like(values) for scope, values in calibration.corrections.items()}
    exact = mean_features(weights)
    corrected = mean_features(weights, calibration)
    without = mean_features(weights, replace(calibration, corrections=zeros))
    error = np.abs(corrected - exact).mean()
    assert error < 0.5 * np.abs(without - exact).mean()
    assert error < 0.03 * np.abs(exact).mean()
