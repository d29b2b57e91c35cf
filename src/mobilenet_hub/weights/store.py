"""Where a module's weights are: the one place that decides."""

from __future__ import annotations

from mobilenet_hub.catalog import ModuleInfo
from mobilenet_hub.errors import MissingWeightsError
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.embedded import EMBEDDED, WITHOUT_LOGITS, load_embedded


def is_here(info: ModuleInfo) -> bool:
    """Whether the module's weights can be loaded without a network."""
    key = info.checkpoint_key
    return key in EMBEDDED and not (info.task == "classification" and key in WITHOUT_LOGITS)


def load_weights(info: ModuleInfo) -> Weights:
    """The weights of a module.

    Raises:
        MissingWeightsError: they are not on this machine; says where they come from.
        WeightsError: they were changed or damaged.
    """
    if is_here(info):
        return load_embedded(info.checkpoint_key)
    part = (
        "Its feature vector is embedded (use .../feature_vector/...), its logits are not."
        if info.checkpoint_key in EMBEDDED
        else "They are not embedded in this package."
    )
    raise MissingWeightsError(
        f"The weights of {info.handle} are not on this machine. {part} They come from "
        f"{info.checkpoint_url} (checkpoint {info.checkpoint}). Received: {info.handle!r}"
    )
