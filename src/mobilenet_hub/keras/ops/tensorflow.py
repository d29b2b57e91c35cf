"""The operations on TensorFlow: its fused batch norm is the very one TF-Slim trained with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from mobilenet_hub.keras.ops import reference


def convolve(x: Any, kernel: Any, *, stride: int, depthwise: bool, data_format: str) -> Any:
    """See `mobilenet_hub.keras.ops`."""
    function = tf.nn.depthwise_conv2d if depthwise else tf.nn.conv2d

    def apply(x: Any, layout: str) -> Any:
        strides = [1, stride, stride, 1] if layout == "NHWC" else [1, 1, stride, stride]
        return function(x, kernel, strides, "SAME", data_format=layout)

    return _in_layout(apply, x, data_format == "channels_last")


def batch_norm_train(
    x: Any, gamma: Any, beta: Any, *, epsilon: float, axis: int
) -> tuple[Any, Any, Any]:
    """See `mobilenet_hub.keras.ops`."""
    if x.dtype == tf.float64:
        return reference.batch_norm_train(x, gamma, beta, epsilon=epsilon, axis=axis)
    statistics = []

    def apply(x: Any, layout: str) -> Any:
        y, mean, unbiased = tf.compat.v1.nn.fused_batch_norm(
            x, gamma, beta, epsilon=epsilon, data_format=layout, is_training=True
        )
        statistics.extend([tf.stop_gradient(mean), tf.stop_gradient(unbiased)])
        return y

    y = _in_layout(apply, x, axis % 4 == 3)
    return y, *statistics


def batch_norm_infer(
    x: Any, gamma: Any, beta: Any, mean: Any, variance: Any, *, epsilon: float, axis: int
) -> Any:
    """See `mobilenet_hub.keras.ops`."""
    if x.dtype == tf.float64:
        return reference.batch_norm_infer(
            x, gamma, beta, mean, variance, epsilon=epsilon, axis=axis
        )

    def apply(x: Any, layout: str) -> Any:
        return tf.compat.v1.nn.fused_batch_norm(
            x, gamma, beta, mean, variance, epsilon, layout, is_training=False
        )[0]

    return _in_layout(apply, x, axis % 4 == 3)


def _in_layout(apply: Callable[[Any, str], Any], x: Any, channels_last: bool) -> Any:
    """Channels first has kernels on GPUs only; on a CPU the same is computed channels last."""
    if channels_last:
        return apply(x, "NHWC")
    if tf.config.list_logical_devices("GPU"):
        return apply(x, "NCHW")
    return tf.transpose(apply(tf.transpose(x, (0, 2, 3, 1)), "NHWC"), (0, 3, 1, 2))
