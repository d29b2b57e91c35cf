"""A model that was trained in Keras, as a classifier for the fast runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import UnsupportedError
from mobilenet_hub.keras.canonical import to_weights
from mobilenet_hub.keras.convolution import Convolution, Logits
from mobilenet_hub.keras.inputs import InputScaling
from mobilenet_hub.keras.layer import KerasLayer
from mobilenet_hub.keras.network import NetworkLayer
from mobilenet_hub.settings import ClassifierSettings, PreprocessingSettings, Probabilities
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.classifier import Hidden, make_classifier
from mobilenet_hub.weights.identify import identify_module

# What does nothing outside of training, and what changes no vector.
_INERT = (
    keras.layers.InputLayer, keras.layers.Dropout, keras.layers.SpatialDropout2D,
    keras.layers.GaussianNoise, keras.layers.GaussianDropout, keras.layers.ActivityRegularization,
    keras.layers.Identity, keras.layers.Flatten,
)  # fmt: skip
_AUGMENTATION = "keras.src.layers.preprocessing.image_preprocessing.random_"
_NETWORK = (KerasLayer, InputScaling, Convolution, Logits)
_PROBABILITIES: dict[str, Probabilities] = {
    "linear": "softmax", "softmax": "softmax", "sigmoid": "sigmoid"
}  # fmt: skip
_TOLERANCE = 0.02  # of the check's outputs: that of a model in bfloat16
_WANTED = (
    "expected a model of augmentation, a hub.KerasLayer or a mobilenet_hub.keras.model, dropout, "
    "at most one Dense with ReLU, and a Dense of one unit a label; what is made of "
    "keras.applications is saved and read by `mobilenet-hub import FILE`"
)

Array = NDArray[np.float32]
Dense = tuple[Array, Array, str]  # kernel, biases, name of the activation


def classifier(
    model: keras.Model,
    labels: Sequence[str],
    *,
    preprocessing: PreprocessingSettings | None = None,
) -> Weights:
    """What was trained in Keras, with its head, for the fast runtime.

    ```python
    model = keras.Sequential([
        hub.KerasLayer(handle, trainable=True), keras.layers.Dropout(0.2), keras.layers.Dense(2)
    ])
    ...  # compile, fit
    insects = mobilenet_hub.keras.classifier(model, ["ants", "bees"])
    hub.Module(insects)(images)  # or insects.save("insects.safetensors"), and its path
    ```

    Args:
        model: `[KerasLayer, Dense]` with augmentation before and dropout anywhere, and perhaps a
            Dense with ReLU between; a `KerasLayer` that classifies needs none. The last Dense may
            end in a softmax, a sigmoid (several labels an image; or one unit for two labels), or
            nothing (logits of a softmax). It takes images in [0,1], or uint8; or, if it begins with
            `Rescaling(1 / 255)`, in [0,255].
        labels: what its classes are called, in their order.
        preprocessing: how its images were made of files; the module's own by default. What
            `keras.utils.image_dataset_from_directory` does is
            `hub.Preprocessing(height, width, "none")`.

    Returns:
        Weights that compute the logits.

    Raises:
        UnsupportedError: a model of something else, or one that computes something else.
        WeightsError: values that are not finite: the training went wrong.
        InputError: labels that are not as many as the classes.
    """
    parts = list(_parts(model))
    own = [part for part in parts if isinstance(part, _NETWORK)]
    if not (own and model.built):
        what = "that has seen no images yet" if own else "without a network"
        raise UnsupportedError(f"{_WANTED}. Received: {model.name!r}, {what}")
    before, after = parts[: parts.index(own[0])], parts[parts.index(own[0]) :]
    rescaled = [getattr(part, "scale", None) for part in before] == [1 / 255]
    if before and not (rescaled and isinstance(before[0], keras.layers.Rescaling)):
        raise UnsupportedError(f"{_WANTED}. Received: first a layer {type(before[0]).__name__}")
    dense = _head(after)
    activation = _PROBABILITIES[dense[-1][2]]
    if dense[-1][0].shape[1] == 1 and activation == "sigmoid" and len(labels) == 2:
        dense[-1], activation = _both(dense[-1]), "softmax"
    layer = own[0]
    metadata: Mapping[str, str] = {}
    if isinstance(layer, KerasLayer):
        layer, metadata = layer.network_layer.scale, layer.network_layer.metadata
    else:
        preprocessing = preprocessing or PreprocessingSettings(*model.input_shape[1:3])
    settings = ClassifierSettings(
        tuple(labels), preprocessing, activation, input_range=layer.input_range
    )
    kernel, biases, _ = dense[-1]
    hidden = Hidden(*dense[0][:2]) if len(dense) == 2 else None
    backbone = to_weights(model, metadata=metadata)
    weights = make_classifier(backbone, kernel, biases, settings, hidden=hidden)
    _check(model, weights, dense[-1][2], 1 if rescaled else 255)
    return weights


def _parts(model: Any) -> Iterator[keras.layers.Layer]:
    """The layers of a model that do something outside of training, those of models in it too."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _parts(layer)
        elif not isinstance(layer, _INERT) and not type(layer).__module__.startswith(_AUGMENTATION):
            yield layer


def _head(parts: Sequence[keras.layers.Layer]) -> list[Dense]:
    """The one or two dense layers after the network."""
    dense: list[Dense] = []
    for part in parts:
        if isinstance(part, KerasLayer) and part.computes == "classification":
            dense += map(_dense, part.network_layer.head[1:])
        elif isinstance(part, Logits):
            dense.append(_dense(part))
        elif isinstance(part, keras.layers.Dense):
            kernel = _array(part.kernel)
            biases = np.zeros(part.units, np.float32) if part.bias is None else _array(part.bias)
            dense.append((kernel, biases, part.activation.__name__))
        elif isinstance(part, keras.layers.Activation | keras.layers.Softmax | keras.layers.ReLU):
            name = getattr(part, "activation", None) or part
            word = getattr(name, "__name__", type(name).__name__).lower()
            if not dense or dense[-1][2] != "linear":
                raise UnsupportedError(f"{_WANTED}. Received: {word} after no Dense")
            dense[-1] = (*dense[-1][:2], word)
        elif not isinstance(part, (*_NETWORK, keras.layers.GlobalAveragePooling2D)):
            raise UnsupportedError(f"{_WANTED}. Received: a layer {type(part).__name__}")
    activations = [activation for *_, activation in dense]
    if (
        activations[:-1] not in ([], ["relu"])
        or activations[-1:] == []
        or (activations[-1] not in _PROBABILITIES)
    ):
        raise UnsupportedError(f"{_WANTED}. Received: dense layers {activations}")
    return dense


def _dense(layer: Logits) -> Dense:
    kernel = _array(layer.kernel).reshape(layer.layer.weights_shape[2:])
    return kernel, _array(layer.bias), layer.layer.activation or "linear"


def _both(dense: Dense) -> Dense:
    """One unit with a sigmoid as two with a softmax: the first one's logit is 0."""
    kernel, biases, _ = dense
    return np.pad(kernel, ((0, 0), (1, 0))), np.pad(biases, (1, 0)), "softmax"


def _check(model: keras.Model, weights: Weights, activation: str, divisor: int) -> None:
    """Compare what both compute: a model's layers do not say all of how they are put together.

    Raises:
        UnsupportedError: they compute different things.
    """
    info = identify_module(weights)
    size = (info.image_size, info.image_size)
    images: Any = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    given = images
    if keras.backend.standardize_dtype(model.inputs[0].dtype) != "uint8":
        given = images.astype(np.float32) / divisor
    expected = _array(model(given, training=False))
    logits = NetworkLayer(info, weights, dtype="float32")(images)
    received = logits if activation == "linear" else getattr(keras.ops, activation)(logits)
    received = _array(received)[:, -expected.shape[1] :]  # of two for one sigmoid: the second
    error = np.abs(received - expected).max()
    if not error <= _TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise UnsupportedError(
            f"{_WANTED}, one after the other, of images in [0,1]. Received: a model whose outputs "
            f"differ from that by {error:.3g}"
        )


def _array(value: Any) -> Array:
    array: Array = keras.ops.convert_to_numpy(value).astype(np.float32)
    return array
