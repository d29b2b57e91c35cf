"""The operations on JAX: XLA's depthwise convolution on CPUs is many times too slow, so not that.

XLA computes a grouped convolution on a CPU without vector instructions; as nine shifted products
added up, which it fuses into one loop, the same takes a twentieth of the time. On other devices the
grouped convolution is a fast kernel of its own, and is used.

Each operation is one program: called eagerly, JAX would compile every small step of it by itself,
anew for each shape. Inside a program of the caller's (`inline`) nothing changes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from mobilenet_hub.keras.ops import reference
from mobilenet_hub.keras.ops.same import same_padding

_batch_norm = partial(jax.jit, static_argnames=("epsilon", "axis"), inline=True)
batch_norm_train = _batch_norm(reference.batch_norm_train)
batch_norm_infer = _batch_norm(reference.batch_norm_infer)


@partial(jax.jit, static_argnames=("stride", "depthwise", "data_format"), inline=True)
def convolve(x: Any, kernel: Any, *, stride: int, depthwise: bool, data_format: str) -> Any:
    """See `mobilenet_hub.keras.ops`."""
    if not depthwise or jax.default_backend() != "cpu":
        return reference.convolve(
            x, kernel, stride=stride, depthwise=depthwise, data_format=data_format
        )
    if data_format == "channels_first":
        return jnp.moveaxis(_depthwise(jnp.moveaxis(x, 1, 3), kernel[..., 0], stride), 3, 1)
    return _depthwise(x, kernel[..., 0], stride)


def _depthwise(x: Any, kernel: Any, stride: int) -> Any:
    """x: [batch, height, width, channels]; kernel: [rows, columns, channels]."""
    rows, columns = (-(-size // stride) for size in x.shape[1:3])
    padding = [same_padding(size, kernel.shape[0], stride) for size in x.shape[1:3]]
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))

    def shifted(row: int, column: int) -> Any:
        start = (0, row, column, 0)
        stop = (
            x.shape[0],
            row + (rows - 1) * stride + 1,
            column + (columns - 1) * stride + 1,
            x.shape[3],
        )
        return lax.slice(x, start, stop, (1, stride, stride, 1))

    return sum(
        shifted(row, column) * kernel[row, column]
        for row in range(kernel.shape[0])
        for column in range(kernel.shape[1])
    )
