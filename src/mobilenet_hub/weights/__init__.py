"""Weights: canonical tensors, the readers that produce them, and where they are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobilenet_hub.weights.canonical import Weights, from_tensors, load

__all__ = ["Weights", "from_tensors", "load"]


def __getattr__(name: str) -> Any:
    # Imported when first used: what only asks where weights are needs no NumPy.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mobilenet_hub.weights import canonical

    return getattr(canonical, name)
