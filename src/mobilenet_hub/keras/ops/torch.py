"""The operations on torch, on views: nothing is copied to change layouts.

A contiguous NHWC array is a NCHW tensor in torch's `channels_last` memory format, in which its
kernels are at their fastest; `permute` there and back costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from mobilenet_hub.keras.ops import reference
from mobilenet_hub.keras.ops.same import same_padding

_TO_NCHW = (0, 3, 1, 2)
_TO_NHWC = (0, 2, 3, 1)


def convolve(x: Any, kernel: Any, *, stride: int, depthwise: bool, data_format: str) -> Any:
    """See `mobilenet_hub.keras.ops`."""
    window = kernel.shape[0]
    weights = kernel.permute((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))

    def apply(x: Any) -> Any:
        (top, bottom), (left, right) = (same_padding(size, window, stride) for size in x.shape[2:])
        padding: tuple[int, int] = (top, left)
        if (top, left) != (bottom, right):
            x, padding = functional.pad(x, (left, right, top, bottom)), (0, 0)
        groups = x.shape[1] if depthwise else 1
        return functional.conv2d(x, weights, None, stride, padding, 1, groups)

    return _as_nchw(apply, x, data_format == "channels_last")


def batch_norm_train(
    x: Any, gamma: Any, beta: Any, *, epsilon: float, axis: int
) -> tuple[Any, Any, Any]:
    """See `mobilenet_hub.keras.ops`."""
    # torch refuses the variance of a single value.
    if x.numel() <= x.shape[axis] or x.dtype == torch.float64:
        return reference.batch_norm_train(x, gamma, beta, epsilon=epsilon, axis=axis)
    # With momentum 1, torch leaves the batch's mean and unbiased variance in its running ones.
    mean, unbiased = torch.zeros_like(gamma.detach()), torch.zeros_like(gamma.detach())

    def apply(x: Any) -> Any:
        return functional.batch_norm(x, mean, unbiased, gamma, beta, True, 1.0, epsilon)

    return _as_nchw(apply, x, axis % 4 == 3), mean, unbiased


def batch_norm_infer(
    x: Any, gamma: Any, beta: Any, mean: Any, variance: Any, *, epsilon: float, axis: int
) -> Any:
    """See `mobilenet_hub.keras.ops`."""
    if x.dtype == torch.float64:
        return reference.batch_norm_infer(
            x, gamma, beta, mean, variance, epsilon=epsilon, axis=axis
        )

    def apply(x: Any) -> Any:
        return functional.batch_norm(x, mean, variance, gamma, beta, False, 0.0, epsilon)

    return _as_nchw(apply, x, axis % 4 == 3)


def _as_nchw(apply: Callable[[Any], Any], x: Any, channels_last: bool) -> Any:
    if not channels_last:
        return apply(x)
    return apply(x.permute(_TO_NCHW)).permute(_TO_NHWC)
