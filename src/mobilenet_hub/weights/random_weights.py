"""Random weights, for tests and for training from scratch: only ever by name."""

from __future__ import annotations

import numpy as np

from mobilenet_hub.networks import Layer, Network
from mobilenet_hub.weights.canonical import Weights


def random_weights(network: Network, *, seed: int = 0, logits: bool = True) -> Weights:
    """Weights drawn so that activations keep their scale through the network.

    Kernels are He-normal (arXiv 1502.01852) over their fan-in; batch norm starts as the identity
    on unit statistics, with moving variance 1.
    """
    generator = np.random.default_rng(seed)
    tensors = {
        name: _draw(generator, layer, name, shape)
        for layer in (network.layers if logits else network.convolutions)
        for name, shape in layer.variables.items()
    }
    source = f"random numbers (seed {seed}), not trained"
    return Weights(network, tensors, {"source": source, "license": "none needed"})


def _draw(
    generator: np.random.Generator, layer: Layer, name: str, shape: tuple[int, ...]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    if name == layer.weights_name:
        inputs = 1 if layer.kind == "depthwise" else layer.in_channels
        scale = np.float32((2 / (layer.kernel**2 * inputs)) ** 0.5)
        return generator.standard_normal(shape, np.float32) * scale
    ones = name.endswith(("gamma", "moving_variance"))
    return np.full(shape, 1.0 if ones else 0.0, np.float32)
