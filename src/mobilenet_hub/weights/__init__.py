"""Weights: canonical tensors, the readers that produce them, and where they are kept."""

from mobilenet_hub.weights.canonical import Weights, from_tensors, identify, load

__all__ = ["Weights", "from_tensors", "identify", "load"]
