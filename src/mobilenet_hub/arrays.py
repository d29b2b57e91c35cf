"""What a module accepts as images, and what it says to everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import InputError, InputTypeError

# Float images are in [0,1]. Augmented ones may leave that range a little, normalised ones reach
# about ±3; values above this are 0-255 pixels that were not divided.
PLAINLY_NOT_UNIT_RANGE = 8.0
NOT_UNIT_RANGE = (
    "float images must be in [0,1]: divide by 255 (images = images / 255.0), or pass uint8 "
    "(images = images.astype('uint8'); a Keras model casts them unless it begins with "
    "keras.Input(..., dtype='uint8'))."
)
_HIGHEST_BITS = np.float32(PLAINLY_NOT_UNIT_RANGE).view(np.uint32)


def as_images(
    value: Any, image_shape: Sequence[int | None]
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """A batch of images as a C-contiguous array, checked but for its values (`check_values`).

    Args:
        value: anything that converts to an array [batch, height, width, 3] by NumPy, `__array__` or
            DLPack: uint8 in [0,255], or floating point in [0,1].
        image_shape: height, width and channels that they must have; None fits any.

    Returns:
        uint8 as it came, any floating dtype as float32; without a copy where possible.

    Raises:
        InputTypeError: not an array, or of another dtype.
        InputError: wrong rank, channels or size.
    """
    array = _to_numpy(value)
    check_images(array.shape, array.dtype.name, image_shape)
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    with np.errstate(over="ignore"):  # becomes infinity, which is refused
        return np.ascontiguousarray(array, np.float32)


def check_images(
    shape: Sequence[int | None], dtype: str, image_shape: Sequence[int | None]
) -> None:
    """Check what is known of a batch of images, of whatever library, before their values are.

    Args:
        shape: of the batch; None where a size is not known yet.
        dtype: its name.
        image_shape: height, width and channels that they must have; None fits any.

    Raises:
        InputTypeError: of another dtype than uint8 and floating point.
        InputError: wrong rank, channels or size.
    """
    # Of ml_dtypes' bfloat16 and float8 too, which NumPy knows by their name only.
    if dtype != "uint8" and "float" not in dtype:
        raise InputTypeError(
            f"images must be floating point in [0,1], or uint8 in [0,255]. Received: dtype {dtype}"
        )
    height, width = image_shape[:2]
    wanted = f"shape [batch, {height or 'height'}, {width or 'width'}, 3]"
    received = f"Received: shape {list(shape)}"
    if len(shape) != 4:
        hint = " For one image, add a batch axis: images[None]." if len(shape) == 3 else ""
        raise InputError(f"images must have {wanted}.{hint} {received}")
    if shape[3] not in (3, None):
        hint = " Channels come last." if shape[1] == 3 else ""
        raise InputError(f"images must have 3 channels (RGB), {wanted}.{hint} {received}")
    if any(
        None not in pair and pair[0] != pair[1] for pair in zip(shape[1:], image_shape, strict=True)
    ):
        raise InputError(
            f"the input size is fixed to {height}x{width} (height x width), {wanted}; resize the "
            f"images, or give a KerasLayer an input_shape. {received}"
        )
    if 0 in shape[1:3]:
        raise InputError(f"images must not be empty. {received}")


def _to_numpy(value: Any) -> NDArray[Any]:
    if type(value).__name__ == "MaskedArray":
        raise InputTypeError(
            "images must not be masked, networks know no missing pixels; fill them first. "
            "Received: a masked array"
        )
    if isinstance(value, np.ndarray):
        return value
    try:
        if hasattr(value, "detach"):  # torch: a tensor that requires grad refuses to convert
            value = value.detach()
            if "bfloat16" in str(value.dtype):  # which NumPy does not know
                value = value.float()
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise InputTypeError(
            "images must convert to a NumPy array on the CPU (NumPy, `__array__` or DLPack). "
            f"Received: {type(value).__module__}.{type(value).__qualname__} ({error})"
        ) from error
    if array.dtype.kind not in "OUS":
        return array
    if hasattr(value, "__dlpack__"):
        return np.from_dlpack(value)
    raise InputTypeError(
        "images must convert to a NumPy array of numbers; hub.load_image(path, height, width) "
        "reads a file. "
        f"Received: {type(value).__module__}.{type(value).__qualname__}"
    )


def check_values(images: NDArray[Any], first: int) -> None:
    """Refuse NaN, infinity, and 0-255 values in float images; all uint8 images are fine.

    Args:
        images: [n, height, width, 3]; a few, so that they stay in the cache.
        first: index in its batch of the first of them, for the message.

    Raises:
        InputError: names the image.
    """
    # Bit patterns of floats in [0, 8] are whole numbers in order; negative ones, infinity and NaN
    # lie above. So one pass over whole numbers, half the time of two over floats, clears images as
    # they should be; what it does not clear is looked at again.
    if images.dtype != np.uint8 and images.view(np.uint32).max() > _HIGHEST_BITS:
        _refuse_values(images, first)


def _refuse_values(images: NDArray[np.float32], first: int) -> None:
    for index, image in enumerate(images, first):
        if not np.isfinite(image).all():
            raise InputError(
                f"images must be finite. Received: NaN or infinity in image {index} of the batch"
            )
        if (highest := image.max()) > PLAINLY_NOT_UNIT_RANGE:
            raise InputError(
                f"{NOT_UNIT_RANGE} Received: values up to {highest:g} in image {index} of the batch"
            )
