"""Which weights a layer or model starts from."""

from __future__ import annotations

from typing import Literal

from mobilenet_hub.catalog import ModuleInfo
from mobilenet_hub.errors import TensorMismatchError, WeightsError
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.random import random_weights
from mobilenet_hub.weights.store import load_weights

WeightsLike = Weights | Literal["random"] | None


def resolve_weights(info: ModuleInfo, weights: WeightsLike) -> Weights:
    """The weights asked for: the published ones by default.

    Raises:
        MissingWeightsError: the published weights are not on this machine.
        WeightsError: the given ones are of another network, or lack the logits.
    """
    if weights is None:
        return load_weights(info)
    needs_logits = info.task == "classification"
    if isinstance(weights, str) and weights == "random":
        return random_weights(info.network, logits=needs_logits)
    if not isinstance(weights, Weights):
        raise TypeError(f"weights must be Weights, 'random' or None. Received: {weights!r}")
    net, wanted = weights.network, info.network
    if (net.family, net.depth_multiplier) != (wanted.family, wanted.depth_multiplier):
        raise WeightsError(
            f"{info.handle} is a {wanted.family} with depth multiplier {wanted.depth_multiplier}. "
            f"Received: weights of {net.family} with depth multiplier {net.depth_multiplier}"
        )
    if needs_logits and not weights.has_logits:
        raise TensorMismatchError(
            f"{weights.metadata.get('source', 'the given weights')}, for {info.handle},",
            missing=[name for name in net.logits.variables],
        )
    return weights
