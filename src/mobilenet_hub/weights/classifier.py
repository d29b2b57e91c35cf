"""Classifiers of somebody's own: weights whose logits are other classes than ImageNet's.

There is no second kind of object. A classifier is `Weights` whose metadata says what the classes
are called and how it is used (`ClassifierSettings`), and which may have a hidden layer before the
logits, and prototypes of what it knows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.networks import network
from mobilenet_hub.settings import ClassifierSettings
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.identify import candidates, known_handle

__all__ = ["ClassifierSettings", "Hidden", "make_classifier"]


class Hidden(NamedTuple):
    """A dense layer with ReLU between features and logits.

    Attributes:
        kernel: float32 [num_features, units].
        biases: float32 [units].
    """

    kernel: NDArray[np.float32]
    biases: NDArray[np.float32]


def make_classifier(
    backbone: Weights,
    kernel: NDArray[np.float32],
    biases: NDArray[np.float32],
    settings: ClassifierSettings,
    *,
    prototypes: NDArray[np.float32] | None = None,
    hidden: Hidden | None = None,
) -> Weights:
    """A network with a head of one's own, as weights that `save` and are taken like any others.

    ```python
    settings = ClassifierSettings(("ant", "bee"), PreprocessingSettings(224, 224))
    insects = make_classifier(hub.Module(handle).weights, kernel, biases, settings)
    insects.save("insects.safetensors")
    hub.Module("insects.safetensors").labels  # ("ant", "bee")
    ```

    Args:
        backbone: whose convolutions it has; a classification layer of theirs is left out.
        kernel: float32 [num_features, classes]; with a hidden layer [units, classes].
        biases: float32 [classes].
        settings: labels, preprocessing and what else belongs to it.
        prototypes: float32 [number, num_features], each of length 1.
        hidden: the layer before.

    Returns:
        Its weights. They are those of a classification module of the catalogue, that of the
        backbone's checkpoint or, if `settings.preprocessing` has another size, of that size.

    Raises:
        WeightsError: there is no module of that size; settings or prototypes that do not fit.
        TensorMismatchError: kernels or biases that do not fit each other or the network.
    """
    net = network(
        backbone.network.family,
        backbone.network.depth_multiplier,
        len(settings.labels),
        hidden_units=None if hidden is None else len(hidden.biases),
        input_range=settings.input_range,
    )
    tensors = {name: backbone.tensors[name] for name in net.variables(logits=False)}
    head = [(net.logits, kernel, biases)] + ([(net.hidden, *hidden)] if hidden else [])
    for layer, its_kernel, its_biases in head:
        if layer is not None:
            tensors[layer.weights_name] = np.asarray(its_kernel, np.float32)[None, None]
            tensors[f"{layer.scope}/biases"] = np.asarray(its_biases, np.float32)
    own = ClassifierSettings.__dataclass_fields__.keys()
    metadata = {
        **{name: text for name, text in backbone.metadata.items() if name not in own},
        "handle": _handle(backbone, settings),
        **settings.to_metadata(),
    }
    if prototypes is not None:
        prototypes = np.asarray(prototypes, np.float32)
    return Weights(net, tensors, metadata, prototypes=prototypes)


def _handle(backbone: Weights, settings: ClassifierSettings) -> str:
    """The classification module whose network and size of input these are."""
    known = known_handle(backbone.metadata.get("handle", ""))
    possible = {r.image_size: r for r in candidates(backbone.network, classification=True)}
    chosen = settings.preprocessing
    size = known.image_size if known else None
    if chosen is not None and (known is None or known.fixed_size):
        size = chosen.height if chosen.height == chosen.width else None
    if size not in possible:
        sizes = ", ".join(f"{size}×{size}" for size in sorted(possible))
        received = f"{chosen.height}×{chosen.width}" if chosen else f"{size} and no preprocessing"
        raise WeightsError(
            f"This network takes images of {sizes}: the settings' preprocessing says which. "
            f"Received: {received}"
        )
    return possible[size].handle
