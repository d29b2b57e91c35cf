"""What a module accepts as images, and what it says to everything else."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import InputError, InputTypeError

# Float images are in [0,1]. Augmented ones may leave that range a little, normalised ones reach
# about ±3; values above this are 0-255 pixels that were not divided.
PLAINLY_NOT_UNIT_RANGE = 8.0
NOT_UNIT_RANGE = (
    "float images must be in [0,1]: divide by 255 (images = images / 255.0), or pass uint8 "
    "(images = images.astype('uint8'))."
)
_HIGHEST_BITS = np.float32(PLAINLY_NOT_UNIT_RANGE).view(np.uint32)


def as_images(
    value: Any, expected_size: tuple[int, int], *, fixed_size: bool
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """A batch of images as a C-contiguous array, checked but for its values (`check_values`).

    Args:
        value: anything that converts to an array [batch, height, width, 3] by NumPy, `__array__` or
            DLPack: uint8 in [0,255], or floating point in [0,1].
        expected_size: height and width of the module's input.
        fixed_size: whether the images must have that size.

    Returns:
        uint8 as it came, any floating dtype as float32; without a copy where possible.

    Raises:
        InputTypeError: not an array, or of another dtype.
        InputError: wrong rank, channels or size.
    """
    array = _to_numpy(value)
    height, width = expected_size
    if array.ndim != 4:
        hint = " For one image, add a batch axis: images[None]." if array.ndim == 3 else ""
        raise InputError(
            f"images must have shape [batch, {height}, {width}, 3].{hint} "
            f"Received: shape {list(array.shape)}"
        )
    if array.shape[3] != 3:
        hint = " Channels come last." if array.shape[1] == 3 else ""
        raise InputError(
            f"images must have 3 channels (RGB), shape [batch, {height}, {width}, 3].{hint} "
            f"Received: shape {list(array.shape)}"
        )
    if fixed_size and array.shape[1:3] != expected_size:
        raise InputError(
            f"this module's input size is fixed to {height}x{width} (height x width); resize the "
            f"images. Received: {array.shape[1]}x{array.shape[2]}"
        )
    if 0 in array.shape[1:3]:
        raise InputError(f"images must not be empty. Received: shape {list(array.shape)}")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    # ml_dtypes' bfloat16 and float8 are kind "V" to NumPy, and convert all the same.
    if array.dtype.kind != "f" and "float" not in array.dtype.name:
        raise InputTypeError(
            "images must be floating point in [0,1], or uint8 in [0,255]. "
            f"Received: dtype {array.dtype}"
        )
    with np.errstate(over="ignore"):  # becomes infinity, which is refused
        return np.ascontiguousarray(array, np.float32)


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
