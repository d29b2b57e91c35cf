"""Dtype policies: what is computed low, what stays float32."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")

import mobilenet_hub as hub  # noqa: E402
from keras_support import V1, images  # noqa: E402

FEATURES = f"{V1}/feature_vector/5"
# How far features may be from float32's, beside their norm: what 27 roundings to 8 or 11 bits
# come to in this network on noise.
NEAR = {"mixed_bfloat16": 0.3, "bfloat16": 0.3, "mixed_float16": 0.04, "float16": 0.04}


@pytest.fixture
def policy(request):
    """A global policy, for one test."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


def fitted(layer, epochs=1):
    model = keras.Sequential([layer, keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-3), loss)
    x = images(4, 32)
    features = keras.Sequential(model.layers[:1]).predict(x, verbose=0)
    history = model.fit(x, np.arange(4) % 2, epochs=epochs, verbose=0)
    return features, history.history["loss"]


@pytest.mark.parametrize("policy", NEAR, indirect=True)
def test_fine_tuning_works_under_every_policy(policy):
    layer = hub.KerasLayer(FEATURES, trainable=True)
    before = layer.current_weights()
    features, losses = fitted(layer, epochs=3)  # a float16 loss scale may skip the first steps
    assert np.isfinite(losses).all()
    expected = hub.Module(FEATURES)(images(4, 32))
    error = np.linalg.norm(features.astype(np.float32) - expected)
    assert error < NEAR[policy] * np.linalg.norm(expected)
    assert features.dtype == keras.mixed_precision.DTypePolicy(policy).compute_dtype

    kernels = {v.dtype for v in layer.trainable_weights if v.path.endswith("weights")}
    assert kernels == {keras.mixed_precision.DTypePolicy(policy).variable_dtype}
    assert {v.dtype for v in layer.weights if "BatchNorm" in v.path} == {"float32"}
    after = layer.current_weights()  # float32 again, whatever was trained
    changed = {n for n, v in after.tensors.items() if not np.array_equal(v, before.tensors[n])}
    assert {n for n in after.tensors if "/moving_" in n} <= changed


def test_a_layer_may_have_a_policy_of_its_own():
    layer = hub.KerasLayer(FEATURES, dtype="mixed_bfloat16")
    features = layer(images(1, 64))
    assert keras.backend.standardize_dtype(features.dtype) == "bfloat16"
    assert layer.network_layer.dtype_policy.name == "mixed_bfloat16"


def test_a_policy_survives_saving(tmp_path):
    layer = hub.KerasLayer(FEATURES, dtype="mixed_bfloat16", input_shape=(64, 64, 3))
    model = keras.Sequential([layer])
    model.save(tmp_path / "x.keras")
    again = keras.models.load_model(tmp_path / "x.keras")
    assert again.layers[0].network_layer.dtype_policy.name == "mixed_bfloat16"
    x = images(2, 64)
    np.testing.assert_array_equal(
        again.predict(x, verbose=0).astype(np.float32),
        model.predict(x, verbose=0).astype(np.float32),
    )


def test_regularization_is_computed_in_float32():
    from mobilenet_hub.keras.convolution import L2Loss

    kernel = keras.ops.full((1000,), 10.0, dtype="float16")  # the sum of squares is 100,000
    assert float(keras.ops.convert_to_numpy(L2Loss(4e-5)(kernel))) == pytest.approx(2.0)
