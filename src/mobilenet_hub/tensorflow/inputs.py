"""What a TensorFlow form accepts as images: the same as `hub.Module`, checked where it is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mobilenet_hub.arrays import NOT_UNIT_RANGE, PLAINLY_NOT_UNIT_RANGE, check_images
from mobilenet_hub.catalog import ModuleInfo
from mobilenet_hub.errors import InputError, InputTypeError


def unit_images(
    images: Any, info: ModuleInfo, image_shape: Sequence[int | None] | None = None
) -> Any:
    """Images as float32 in [0,1].

    What is known before the images are is checked at once (`arrays.check_images`); their size and
    values, where only they can tell, when they are computed with
    (`tf.errors.InvalidArgumentError`).

    Args:
        images: a tensor, or anything that converts to one: [batch, height, width, 3], floating
            point in [0,1] or uint8 in [0,255].
        info: the module.
        image_shape: of one image, chosen by the caller in place of the module's.

    Raises:
        InputError: wrong rank, channels or size.
        InputTypeError: not images, or of another dtype.
    """
    tensor = _to_tensor(images)
    shape = image_shape or info.image_shape
    expected = tf.TensorShape((None, *shape))
    known = tensor.shape if tensor.shape.rank is not None else expected
    check_images(known.as_list(), tensor.dtype.name, shape)
    with tf.name_scope("hub_images"):
        if not tensor.shape.is_subtype_of(expected):
            tensor = tf.ensure_shape(tensor, expected)
        if tensor.dtype == tf.uint8:
            return tf.cast(tensor, tf.float32) / 255.0
        return _checked(tf.cast(tensor, tf.float32))


def _checked(images: Any) -> Any:
    """Float images, refused when they are computed with if they are plainly not in [0,1]."""
    # False for NaN, too.
    fine = tf.reduce_all((images <= PLAINLY_NOT_UNIT_RANGE) & (images > -np.inf))
    if tf.executing_eagerly():
        if not fine:
            raise InputError(f"{NOT_UNIT_RANGE} Received: values up to {tf.reduce_max(images):g}")
        return images
    # The operation itself: `tf.debugging.Assert` puts branches around it, which converters dislike.
    check = tf.raw_ops.Assert(condition=fine, data=[NOT_UNIT_RANGE, tf.reduce_max(images)])
    with tf.control_dependencies([check]):
        return tf.identity(images)


def _to_tensor(images: Any) -> Any:
    if tf.is_tensor(images):
        return images
    if hasattr(images, "__dlpack__") or isinstance(images, list | tuple):
        images = np.asarray(images)  # torch, JAX, lists
        images = images.astype(np.float32) if images.dtype == np.float64 else images
    try:
        return tf.convert_to_tensor(images)
    except (TypeError, ValueError) as error:
        raise InputTypeError(
            "images must be a tensor, or convert to one. "
            f"Received: {type(images).__qualname__} ({error})"
        ) from error
