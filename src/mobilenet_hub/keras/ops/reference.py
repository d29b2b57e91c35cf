"""The operations in `keras.ops`: what they mean, on every backend; what runs on JAX."""

from __future__ import annotations

from typing import Any

from keras import backend, ops


def convolve(x: Any, kernel: Any, *, stride: int, depthwise: bool, data_format: str) -> Any:
    """See `mobilenet_hub.keras.ops`."""
    function = ops.depthwise_conv if depthwise else ops.conv
    return function(x, kernel, strides=stride, padding="same", data_format=data_format)


def batch_norm_train(
    x: Any, gamma: Any, beta: Any, *, epsilon: float, axis: int
) -> tuple[Any, Any, Any]:
    """See `mobilenet_hub.keras.ops`."""
    axes = [a for a in range(4) if a != axis % 4]
    wide = ops.cast(x, _wide(x))
    mean, variance = ops.moments(wide, axes)
    y = _normalise(wide, gamma, beta, mean, variance, epsilon, axis)
    count = ops.cast(ops.size(x), wide.dtype) / ops.cast(ops.shape(x)[axis], wide.dtype)
    unbiased = variance * (count / ops.maximum(count - 1, 1))
    statistics = (ops.stop_gradient(ops.cast(value, "float32")) for value in (mean, unbiased))
    return ops.cast(y, x.dtype), *statistics


def batch_norm_infer(
    x: Any, gamma: Any, beta: Any, mean: Any, variance: Any, *, epsilon: float, axis: int
) -> Any:
    """See `mobilenet_hub.keras.ops`."""
    wide = ops.cast(x, _wide(x))
    return ops.cast(_normalise(wide, gamma, beta, mean, variance, epsilon, axis), x.dtype)


def _wide(x: Any) -> str:
    return "float64" if backend.standardize_dtype(x.dtype) == "float64" else "float32"


def _normalise(
    x: Any, gamma: Any, beta: Any, mean: Any, variance: Any, epsilon: float, axis: int
) -> Any:
    gamma, beta, mean, variance = (ops.cast(v, x.dtype) for v in (gamma, beta, mean, variance))
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    scale = gamma * ops.rsqrt(variance + epsilon)
    mean, scale, beta = (ops.reshape(value, shape) for value in (mean, scale, beta))
    return (x - mean) * scale + beta  # not x · scale + (beta − mean · scale): that cancels
