"""The networks on TensorFlow itself: TF1 graphs and sessions, `tf_keras` models, `tf.Module`s.

Three forms of a module, on the operations and variables of `network`:

- `GraphModule`, what `hub.Module` is outside eager execution, with TF1's collections;
- `load`, a `tf.Module` with the interface of a SavedModel to reuse;
- `KerasLayer`, for models of `tf_keras` (Keras 2).

Needs the extra `[tensorflow]`. This is the only place that finds out whether it is there.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mobilenet_hub.errors import MissingExtraError

if TYPE_CHECKING:
    from mobilenet_hub.tensorflow.feature_column import image_embedding_column
    from mobilenet_hub.tensorflow.graph_module import GraphModule
    from mobilenet_hub.tensorflow.hub_format import checkpoint_weights, write_hub_module
    from mobilenet_hub.tensorflow.layer import KerasLayer
    from mobilenet_hub.tensorflow.loaded import LoadedModule, load

__all__ = [
    "GraphModule",
    "KerasLayer",
    "LoadedModule",
    "checkpoint_weights",
    "image_embedding_column",
    "load",
    "write_hub_module",
]

_FILES = {
    "GraphModule": "graph_module",
    "KerasLayer": "layer",  # the only one that needs tf_keras
    "LoadedModule": "loaded",
    "checkpoint_weights": "hub_format",
    "image_embedding_column": "feature_column",
    "load": "loaded",
    "write_hub_module": "hub_format",
}


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("tensorflow", "tf_keras"):
            raise
        raise MissingExtraError("tensorflow", f"mobilenet_hub.tensorflow.{name}") from error
