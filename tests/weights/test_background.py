"""The background class is never predicted."""

from __future__ import annotations

import numpy as np
import pytest

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.background import (
    BACKGROUND_BIAS,
    MAX_FEATURE,
    lower_bounds,
    with_background,
)
from weights_support import load_bundled


def test_the_background_class_is_below_every_other_for_any_features():
    # The bound is reached, and only there, by features of 6 where a weight is negative, else 0.
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((1, 1, 64, 1000), np.float32)
    biases = rng.standard_normal(1000, np.float32)
    bounds = lower_bounds(kernel, biases)
    worst = np.where(kernel[0, 0] < 0, MAX_FEATURE, 0.0)
    reached = (worst * kernel[0, 0]).sum(axis=0, dtype=np.float64) + biases
    np.testing.assert_allclose(bounds, reached, rtol=1e-5)
    features = rng.uniform(0, MAX_FEATURE, (1000, 64)).astype(np.float32)
    assert (features @ kernel[0, 0] + biases >= bounds - 1e-3).all()

    full_kernel, full_biases = with_background(kernel, biases, "here")
    assert (full_kernel[..., 0] == 0).all()  # so that its logit is its bias, whatever the features
    assert full_biases[0] == BACKGROUND_BIAS < bounds.min()


def test_the_bundled_network_never_predicts_background():
    weights = load_bundled("mobilenet_v1_025_224")
    scope = weights.network.logits.scope
    kernel, biases = weights.tensors[f"{scope}/weights"], weights.tensors[f"{scope}/biases"]
    assert biases[0] == BACKGROUND_BIAS
    assert (kernel[..., 0] == 0).all()
    bounds = lower_bounds(kernel[..., 1:], biases[1:])
    assert bounds.min() > BACKGROUND_BIAS + 9000
    # A float32 probability of it is 0 beside any other: exp of less than -104 is 0.
    assert np.exp(np.float32(BACKGROUND_BIAS - bounds.min())) == 0


def test_logits_that_could_fall_below_background_are_refused():
    kernel = np.full((1, 1, 1000, 1000), -2, np.float32)
    with pytest.raises(WeightsError, match=r"Received: logits that reach -1.2e\+04"):
        with_background(kernel, np.zeros(1000, np.float32), "here")
    with pytest.raises(WeightsError, match="expected a logits kernel"):
        with_background(kernel, np.zeros(10, np.float32), "here")
