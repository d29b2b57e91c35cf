"""What in a photo speaks for a class: exactly, without gradients.

These networks end in a mean over the cells of the last feature map and one linear layer, so the
logit of a class is its bias plus the mean over cells of w · features of the cell: what each cell
adds is known as it is (class activation mapping: Zhou et al., "Learning Deep Features for
Discriminative Localization", 2016). Behind a hidden layer it is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import InputError
from mobilenet_hub.inference import InferenceModule
from mobilenet_hub.weights.canonical import Weights

_FOR, _AGAINST = (255, 110, 0), (30, 90, 255)  # orange and blue
_MOST_OPAQUE = 0.7 * 255


def has_heat_maps(weights: Weights) -> bool:
    """Whether the logits are linear in the features: a head without a hidden layer."""
    return weights.has_logits and weights.network.hidden is None


def heat_maps(
    module: InferenceModule, images: NDArray[Any], classes: NDArray[np.integer[Any]]
) -> NDArray[np.float32]:
    """What each cell of photos adds to the logits of classes.

    ```python
    maps = heat_maps(module, images, np.array([[1, 7]]))
    maps.mean(axis=(2, 3)) + biases[[1, 7]]  # the module's logits, to rounding
    ```

    Args:
        module: a classifier with `has_heat_maps`.
        images: [photos, height, width, 3], uint8 or float32 in [0, 1].
        classes: int [photos, some], for each photo the classes in question.

    Returns:
        float32 [photos, some, rows, columns]: whose mean, plus the bias of the class, is the logit.

    Raises:
        InputError: the head has a hidden layer.
    """
    weights = module.current_weights()
    if not has_heat_maps(weights):
        raise InputError(f"heat maps need one linear layer after the features. Received: {module}")
    network = weights.network
    endpoint = f"{network.scope}/{list(network.endpoints)[-1]}"
    outputs = module(images, signature="image_feature_vector", as_dict=True, outputs=[endpoint])
    kernel = weights.tensors[network.logits.weights_name].reshape(network.num_features, -1)
    maps = [
        cells @ kernel[:, wanted] for cells, wanted in zip(outputs[endpoint], classes, strict=True)
    ]
    return np.stack(maps).transpose(0, 3, 1, 2)


def overlay(cells: NDArray[np.float32], largest: float) -> NDArray[np.uint8]:
    """A heat map as colours to lay over its photo: orange speaks for the class, blue against.

    Args:
        cells: float32 [rows, columns].
        largest: the absolute value that is most opaque.

    Returns:
        uint8 [rows, columns, 4]: red, green, blue, opacity.
    """
    colours = np.where(cells[..., None] > 0, _FOR, _AGAINST)
    opacity = np.abs(cells[..., None]) / (largest or 1) * _MOST_OPAQUE
    return np.concatenate([colours, np.rint(opacity)], axis=-1).astype(np.uint8)
