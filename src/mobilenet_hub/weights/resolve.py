"""Which weights a module, a layer or a model starts from."""

from __future__ import annotations

from os import PathLike

from mobilenet_hub.catalog import ModuleInfo
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.identify import identify_module
from mobilenet_hub.weights.random_weights import random_weights
from mobilenet_hub.weights.readers import read
from mobilenet_hub.weights.storage.store import load_weights

WeightsLike = Weights | str | PathLike[str] | None


def choose_weights(info: ModuleInfo, weights: WeightsLike) -> Weights:
    """The weights that a caller asks for.

    Args:
        info: the module they are for.
        weights: as they are; the path of a file in any format this library reads; `"random"`; None
            for the published ones.

    Raises:
        MissingWeightsError: the published weights are not on this machine and cannot be fetched.
        WeightsError: the given ones are of another network, lack the logits, or were damaged.
        TypeError: something else.
    """
    if weights is None:
        return load_weights(info)
    if isinstance(weights, str) and weights == "random":
        return random_weights(info.network, logits=info.task == "classification")
    if isinstance(weights, str | PathLike):
        weights = read(weights, handle=info.handle)
    if not isinstance(weights, Weights):
        raise TypeError(f"weights must be Weights, a path or 'random'. Received: {weights!r}")
    identify_module(weights, handle=info.handle)  # refuses another network
    return weights
