"""TensorFlow's SAME padding."""

from __future__ import annotations


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """Zeros before and after: as few as give ceil(size / stride) outputs, the odd one after."""
    total = max(0, (-(-size // stride) - 1) * stride + window - size)
    return total // 2, total - total // 2
