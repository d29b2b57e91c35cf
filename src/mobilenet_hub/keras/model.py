"""A network as a functional `keras.Model`: every layer in sight, to build upon."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import keras

from mobilenet_hub.catalog import ModuleInfo
from mobilenet_hub.errors import InputError
from mobilenet_hub.keras.convolution import Convolution, DataFormat
from mobilenet_hub.keras.network import NetworkLayer
from mobilenet_hub.networks import WEIGHT_DECAY
from mobilenet_hub.weights.resolve import Spec, WeightsLike, resolve


def model(
    handle: Spec,
    *,
    weights: WeightsLike = None,
    input_shape: Sequence[int | None] | None = None,
    data_format: DataFormat | None = None,
    batch_norm_momentum: float | None = None,
    weight_decay: float = WEIGHT_DECAY,
    dtype: Any = None,
    name: str | None = None,
) -> keras.Model:
    """The network of a module as a functional Keras model.

    The variables' `path` is TF-Slim's name, their order the network's; `to_weights` and
    `assign_weights` move them. Batch norm is TF-Slim's (`FusedBatchNorm`). Set `trainable` on the
    model or on single layers to freeze them, moving averages included.

    Args:
        handle: of a module, or a path, as in `hub.Module`; its task decides whether the output is
            features or logits.
        weights: to start from, as in `hub.Module`; the published ones by default.
        input_shape: of one image, in the layout of `data_format`; sizes may be None. By default any
            size for V1, the handle's for V2.
        data_format: `channels_last` or `channels_first`; Keras's configured one by default.
        batch_norm_momentum: of the moving averages; that of the module's version by default.
        weight_decay: of the regularization losses (every convolution but the depthwise ones);
            0 for none.
        dtype: Keras dtype or policy of all layers; the global policy by default.
        name: of the model; the checkpoint's by default.

    Returns:
        images in [0,1] -> features [batch, num_features] or logits [batch, num_classes].

    Raises:
        UnknownHandleError, MissingWeightsError, WeightsError: as `hub.Module` does.
        InputError: an impossible `input_shape`, `data_format` or momentum.
    """
    resolved = resolve(handle, weights)
    info = resolved.info
    layout = as_data_format(data_format)
    network_layer = NetworkLayer(
        info, resolved.weights, momentum=batch_norm_momentum,
        weight_decay=weight_decay, data_format=layout, dtype=dtype,
    )  # fmt: skip
    images = keras.Input(_input_shape(info, input_shape, layout), name="images")
    output, _ = network_layer.features(images)
    if info.task == "classification":
        output = network_layer.logits(output)
    return keras.Model(images, output, name=name or info.checkpoint_key)


def endpoints(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """The intermediate values of a `model` by TF-Slim endpoint name, in network order.

    ```python
    backbone = keras.Model(model.input, endpoints(model)["layer_14/expansion_output"])
    ```
    """
    return {
        name: layer.output
        for layer in model.layers
        if isinstance(layer, Convolution)
        for name in layer.layer.endpoints
    }


def as_data_format(value: str | None) -> DataFormat:
    """A data format, checked; Keras's configured one for None.

    Raises:
        InputError: neither `channels_last` nor `channels_first`.
    """
    value = keras.config.image_data_format() if value is None else value
    if value == "channels_last":
        return "channels_last"
    if value == "channels_first":
        return "channels_first"
    raise InputError(
        f"data_format must be 'channels_last' or 'channels_first'. Received: {value!r}"
    )


def as_input_shape(value: Sequence[int | None], data_format: DataFormat) -> tuple[int | None, ...]:
    """The shape of one image, checked.

    Raises:
        InputError: not three whole numbers, the channels other than 3, or a size below 1.
    """
    wanted = "(height, width, 3)" if data_format == "channels_last" else "(3, height, width)"
    try:
        shape = tuple(None if size is None else operator.index(size) for size in value)
    except TypeError:
        shape = ()  # not even a sequence of whole numbers
    channels = shape[-1 if data_format == "channels_last" else 0] if len(shape) == 3 else None
    if channels != 3 or any(size is not None and size < 1 for size in shape):
        raise InputError(
            f"input_shape must be {wanted}: one RGB image, without the batch. Received: {value!r}"
        )
    return shape


def _input_shape(
    info: ModuleInfo, given: Sequence[int | None] | None, data_format: DataFormat
) -> tuple[int | None, ...]:
    if given is not None:
        return as_input_shape(given, data_format)
    size = None if info.family == "mobilenet_v1" else info.image_size
    return (size, size, 3) if data_format == "channels_last" else (3, size, size)
