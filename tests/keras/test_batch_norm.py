"""Batch norm and convolution: TF-Slim's arithmetic, on every backend, fast or plain."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from keras_support import numpy_of  # noqa: E402
from mobilenet_hub.keras import FusedBatchNorm, ops  # noqa: E402
from mobilenet_hub.keras.ops import reference  # noqa: E402


def batch(*shape, seed=0):
    return np.random.default_rng(seed).normal(0.5, 2.0, shape).astype(np.float32)


def built(channels=5, **options):
    layer = FusedBatchNorm(**options)
    axis = options.get("axis", -1)
    layer.build((None, None, None, channels) if axis == -1 else (None, channels, None, None))
    values = np.random.default_rng(1).uniform(0.5, 2.0, (4, channels)).astype(np.float32)
    for variable, value in zip(layer.weights, values, strict=True):
        variable.assign(value)
    return layer, dict(zip((v.name for v in layer.weights), values, strict=True))


def normalised(x, mean, variance, given):
    return given["gamma"] * (x - mean) / np.sqrt(variance + 0.001) + given["beta"]


def test_training_normalises_by_the_biased_variance_of_the_batch():
    layer, given = built()
    x = batch(3, 4, 6, 5)
    expected = normalised(x, x.mean((0, 1, 2)), x.var((0, 1, 2)), given)
    np.testing.assert_allclose(numpy_of(layer(x, training=True)), expected, atol=1e-5)


def test_training_averages_the_unbiased_variance():
    layer, given = built(momentum=0.9)
    x = batch(3, 2, 2, 5)
    layer(x, training=True)
    mean, unbiased = x.mean((0, 1, 2)), x.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(
        numpy_of(layer.moving_mean), 0.9 * given["moving_mean"] + 0.1 * mean, rtol=1e-6
    )
    np.testing.assert_allclose(
        numpy_of(layer.moving_variance),
        0.9 * given["moving_variance"] + 0.1 * unbiased,
        rtol=1e-6,
    )
    # Keras's own layer would have averaged another variance: with n = 12, by 9 %.
    assert not np.allclose(unbiased, x.var((0, 1, 2)), rtol=0.05)


@pytest.mark.parametrize("as_tensor", [False, True])
def test_momentum_can_change_from_call_to_call(as_tensor):
    layer, given = built(momentum=0.9)
    x = batch(2, 3, 3, 5)
    momentum = keras.ops.convert_to_tensor(0.997, "float32") if as_tensor else 0.997
    layer(x, training=True, momentum=momentum)
    expected = 0.997 * given["moving_mean"] + 0.003 * x.mean((0, 1, 2))
    np.testing.assert_allclose(numpy_of(layer.moving_mean), expected, rtol=1e-6)


def test_inference_normalises_by_the_moving_averages_and_leaves_them():
    layer, given = built()
    x = batch(2, 3, 3, 5)
    expected = normalised(x, given["moving_mean"], given["moving_variance"], given)
    np.testing.assert_allclose(numpy_of(layer(x)), expected, atol=1e-5)
    assert_averages(layer, given)


def test_a_frozen_layer_stays_in_inference_in_training():
    layer, given = built(trainable=False)
    x = batch(2, 3, 3, 5)
    expected = normalised(x, given["moving_mean"], given["moving_variance"], given)
    np.testing.assert_allclose(numpy_of(layer(x, training=True)), expected, atol=1e-5)
    assert_averages(layer, given)


def test_batch_statistics_can_be_used_without_updating_the_averages():
    layer, given = built()
    x = batch(2, 3, 3, 5)
    y = layer(x, training=True, update_averages=False)
    expected = normalised(x, x.mean((0, 1, 2)), x.var((0, 1, 2)), given)
    np.testing.assert_allclose(numpy_of(y), expected, atol=1e-5)
    assert_averages(layer, given)


def test_a_single_value_has_variance_zero():
    layer, given = built(momentum=0.5)
    x = batch(1, 1, 1, 5)
    y = numpy_of(layer(x, training=True))
    np.testing.assert_allclose(y, np.broadcast_to(given["beta"], y.shape), atol=1e-5)
    np.testing.assert_allclose(
        numpy_of(layer.moving_variance), 0.5 * given["moving_variance"], rtol=1e-6
    )


def test_channels_first_is_the_same_transposed():
    last, _ = built()
    first, _ = built(axis=1)
    x = batch(2, 3, 4, 5)
    for training in (True, False):
        y = numpy_of(first(x.transpose(0, 3, 1, 2), training=training))
        expected = numpy_of(last(x, training=training))
        np.testing.assert_allclose(y.transpose(0, 2, 3, 1), expected, atol=1e-5)
    for one, other in zip(last.weights, first.weights, strict=True):
        np.testing.assert_allclose(numpy_of(one), numpy_of(other), rtol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"])
def test_statistics_stay_float32_under_every_policy(policy):
    layer, given = built(dtype=policy)
    x = batch(2, 3, 3, 5)
    low = keras.ops.cast(x, layer.compute_dtype)
    y = layer(low, training=True, momentum=keras.ops.convert_to_tensor(0.997, "float32"))
    assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype
    assert {v.dtype for v in layer.weights} == {"float32"}
    # The momentum must not be rounded to the policy: 0.997 in bfloat16 is 0.996.
    expected = 0.997 * given["moving_mean"] + 0.003 * numpy_of(low).mean((0, 1, 2))
    np.testing.assert_allclose(numpy_of(layer.moving_mean), expected, rtol=1e-6)


def assert_averages(layer, given):
    for name in ("moving_mean", "moving_variance"):
        np.testing.assert_array_equal(numpy_of(getattr(layer, name)), given[name])


def gradients(function, *values):
    """Gradients of a scalar function of arrays, by the backend's own autograd."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tensors = [tf.constant(value) for value in values]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            loss = function(*tensors)
        return [numpy_of(g) for g in tape.gradient(loss, tensors)]
    if backend == "torch":
        import torch

        tensors = [torch.tensor(value, requires_grad=True) for value in values]
        function(*tensors).backward()
        return [numpy_of(tensor.grad) for tensor in tensors]
    import jax

    return [np.asarray(g) for g in jax.grad(function, tuple(range(len(values))))(*values)]


@pytest.mark.parametrize("axis", [-1, 1])
def test_the_backends_batch_norm_equals_the_plain_one_with_its_gradients(axis):
    x, weight = batch(3, 4, 4, 4), keras.ops.convert_to_tensor(batch(3, 4, 4, 4, seed=2))
    gamma, beta = batch(4, seed=3), batch(4, seed=4)

    def loss(function):
        def scalar(x, gamma, beta):
            y, *_ = function(x, gamma, beta, epsilon=0.001, axis=axis)
            return keras.ops.sum(keras.ops.square(y) * weight)

        return scalar

    results = [
        [numpy_of(v) for v in f(*map(keras.ops.convert_to_tensor, (x, gamma, beta)),
                                epsilon=0.001, axis=axis)]
        + gradients(loss(f), x, gamma, beta)
        for f in (ops.batch_norm_train, reference.batch_norm_train)
    ]  # fmt: skip
    for fast, plain in zip(*results, strict=True):
        np.testing.assert_allclose(fast, plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 10), (1, 3), (2, 1)])
def test_convolutions_pad_as_tensorflow_does(height, width, stride, depthwise):
    x, kernel = batch(2, height, width, 3), batch(3, 3, 3, 1 if depthwise else 4, seed=5)
    expected = convolution(x, kernel, stride, depthwise)
    for layout in ("channels_last", "channels_first"):
        images = x if layout == "channels_last" else x.transpose(0, 3, 1, 2)
        y = ops.convolve(
            keras.ops.convert_to_tensor(images),
            keras.ops.convert_to_tensor(kernel),
            stride=stride,
            depthwise=depthwise,
            data_format=layout,
        )
        y = numpy_of(y)
        y = y if layout == "channels_last" else y.transpose(0, 2, 3, 1)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def convolution(x, kernel, stride, depthwise):
    """From the definition of SAME: output i covers inputs from i·stride − before."""
    _, height, width, channels = x.shape
    sizes = [-(-size // stride) for size in (height, width)]
    befores = [
        max(0, (out - 1) * stride + 3 - size) // 2
        for out, size in zip(sizes, (height, width), strict=True)
    ]
    out = np.zeros((len(x), *sizes, channels if depthwise else kernel.shape[3]), np.float64)
    for i, j, row, column in np.ndindex(*sizes, 3, 3):
        y, z = i * stride - befores[0] + row, j * stride - befores[1] + column
        if 0 <= y < height and 0 <= z < width:
            tap = kernel[row, column]
            out[:, i, j] += x[:, y, z] * tap[:, 0] if depthwise else x[:, y, z] @ tap
    return out


@pytest.mark.parametrize("stride", [1, 2])
def test_the_backends_depthwise_convolution_has_the_plain_ones_gradients(stride):
    x, kernel = batch(2, 5, 6, 3), batch(3, 3, 3, 1, seed=6)
    weight = keras.ops.convert_to_tensor(batch(2, -(-5 // stride), -(-6 // stride), 3, seed=7))

    def loss(function):
        options = {"stride": stride, "depthwise": True, "data_format": "channels_last"}
        return lambda x, kernel: keras.ops.sum(function(x, kernel, **options) * weight)

    pairs = zip(
        gradients(loss(ops.convolve), x, kernel),
        gradients(loss(reference.convolve), x, kernel),
        strict=True,
    )
    for fast, plain in pairs:
        np.testing.assert_allclose(fast, plain, rtol=1e-3, atol=1e-3)
