"""The networks on TensorFlow itself: TF1 graphs and sessions, `tf_keras` models, `tf.Module`s.

Three forms of one module, on the operations and variables of `network`:

- `GraphModule`, what `hub.Module` is outside eager execution, with TF1's collections;
- `load`, a `tf.Module` with the interface of a reusable SavedModel;
- `KerasLayer`, for models of `tf_keras` (Keras 2).

Needs the extra `[tensorflow]`. This is the only place that finds out whether TensorFlow is there.
"""

from mobilenet_hub.errors import MissingExtraError

try:
    import tensorflow as _tensorflow  # noqa: F401
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "tensorflow":
        raise
    raise MissingExtraError("tensorflow", "TensorFlow's graphs, tf_keras and tf.Module") from error
