"""What the trainable forms of a module accept as images: the same as `hub.Module`, in tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from mobilenet_hub.arrays import NOT_UNIT_RANGE, PLAINLY_NOT_UNIT_RANGE, check_images
from mobilenet_hub.catalog import ModuleInfo
from mobilenet_hub.errors import InputError, InputTypeError
from mobilenet_hub.keras.naming import HubLayer
from mobilenet_hub.networks import INPUT_RANGE


@keras.saving.register_keras_serializable(package="mobilenet_hub")
class InputScaling(HubLayer):
    """Images to the network's input range: [-1,1], `2x − 1`, of floats x in [0,1], or uint8 / 255.

    Computed in float32 under every policy (but float64): of a rounded x, `2x − 1` loses what is
    near zero. Floats above 8 are no images in [0,1] and are refused: by looking at them in eager
    calls, by an assertion in TensorFlow's graphs. What JAX or XLA compiles cannot be refused.
    """

    def __init__(self, input_range: tuple[float, float] = INPUT_RANGE, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.input_range = (float(input_range[0]), float(input_range[1]))

    def call(self, images: Any) -> Any:
        """Scale [batch, height, width, 3], in either layout.

        Raises:
            InputError: 0-255 values in float images.
        """
        dtype = "float64" if self.compute_dtype == "float64" else "float32"
        is_uint8 = keras.backend.standardize_dtype(images.dtype) == "uint8"
        images = keras.ops.cast(images, dtype)
        if is_uint8:
            images = images / 255.0
        else:
            check_range(images)
        low, high = self.input_range
        return images * (high - low) + low

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        return super().get_config() | {"input_range": self.input_range}

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's."""
        return input_shape

    def quantize(self, mode: str | None = None, **kwargs: Any) -> None:
        """Says what Keras would keep silent about: it asks no layer that has layers of its own.

        Raises:
            NotImplementedError: always; Keras makes a warning of it.
        """
        raise NotImplementedError(
            "The convolutions of a MobileNet are not quantized by Keras's quantize(), and stay as "
            f"they are. Received: quantize({mode!r})"
        )


def check_range(images: Any) -> None:
    """Refuse floats that are plainly in [0,255], where their values can be seen.

    Raises:
        InputError: in eager calls. TensorFlow's graphs raise its InvalidArgumentError.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        if not tf.executing_eagerly():
            highest = tf.reduce_max(images)
            limit = tf.constant(PLAINLY_NOT_UNIT_RANGE, images.dtype)
            tf.debugging.assert_less_equal(highest, limit, message=NOT_UNIT_RANGE)
            return
    elif backend == "torch":
        import torch

        if images.is_meta or torch.compiler.is_compiling():
            return
    elif backend == "jax":
        import jax

        if isinstance(images, jax.core.Tracer):
            return
    if 0 in images.shape:
        return
    highest = float(keras.ops.convert_to_numpy(keras.ops.max(images)))
    if highest > PLAINLY_NOT_UNIT_RANGE:
        raise InputError(f"{NOT_UNIT_RANGE} Received: values up to {highest:g}")


def check_tensor(
    images: Any, info: ModuleInfo, image_shape: Sequence[int | None] | None = None
) -> None:
    """Check what is known of images before anything is computed: see `arrays.check_images`.

    Args:
        images: an array, or a tensor of Keras's backend, or a symbol of one.
        info: the module.
        image_shape: of one image, chosen by the caller in place of the module's.

    Raises:
        InputError: wrong rank, channels or size.
        InputTypeError: not an array, or of another dtype.
    """
    if not hasattr(images, "shape") or not hasattr(images, "dtype"):
        raise InputTypeError(
            "images must be an array or a tensor of Keras's backend "
            f"({keras.backend.backend()}). Received: {type(images).__qualname__}"
        )
    if getattr(images.shape, "rank", 0) is not None:  # else TensorFlow knows nothing of its shape
        dtype = keras.backend.standardize_dtype(images.dtype)
        check_images(tuple(images.shape), dtype, image_shape or info.image_shape)
