"""What the trainable forms of a module accept as images: the same as `hub.Module`, in tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from mobilenet_hub.catalog import ModuleInfo
from mobilenet_hub.errors import InputError, InputTypeError


def check_images(images: Any, info: ModuleInfo, shape: Sequence[int | None] | None = None) -> None:
    """Check what is known of images before anything is computed: rank, channels, size, dtype.

    Args:
        images: an array, or a tensor of Keras's backend, or a symbol of one.
        info: the module.
        shape: of one image, chosen by the caller in place of the module's; None fits any size.

    Raises:
        InputError: wrong rank, channels or size.
        InputTypeError: not an array, or of another dtype.
    """
    if not hasattr(images, "shape") or not hasattr(images, "dtype"):
        raise InputTypeError(
            "images must be an array or a tensor of Keras's backend "
            f"({keras.backend.backend()}). Received: {type(images).__qualname__}"
        )
    if getattr(images.shape, "rank", 0) is None:  # TensorFlow knows nothing of this tensor
        return
    received = list(images.shape)
    fixed = info.image_size if info.fixed_size else None
    height, width = (fixed, fixed) if shape is None else shape[:2]
    if len(received) != 4 or received[3] not in (3, None):
        wanted = f"[batch, {height or 'height'}, {width or 'width'}, 3]"
        raise InputError(f"images must have shape {wanted}. Received: shape {received}")
    for have, want in zip(received[1:3], (height, width), strict=True):
        if None not in (have, want) and have != want:
            raise InputError(
                f"the input size of {info.handle} is fixed to {height}x{width} (height x width); "
                f"resize the images, or give the layer an input_shape. Received: shape {received}"
            )
    dtype = keras.backend.standardize_dtype(images.dtype)
    if dtype != "uint8" and "float" not in dtype:
        raise InputTypeError(
            f"images must be floating point in [0,1], or uint8 in [0,255]. Received: dtype {dtype}"
        )
