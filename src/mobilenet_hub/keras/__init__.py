"""The networks in Keras 3, on any of its backends: to train, to fine-tune, to build upon.

```python
import mobilenet_hub.keras as mobilenets
model = mobilenets.model("google/imagenet/mobilenet_v2_100_224/feature_vector/5")
```

Needs the extra `[keras]` and one backend: TensorFlow, JAX or torch, chosen by Keras's environment
variable `KERAS_BACKEND`. This is the only place that finds out whether Keras is there.
"""

from mobilenet_hub.errors import MissingBackendError, MissingExtraError

try:
    import keras as _keras  # noqa: F401
except ModuleNotFoundError as error:
    missing = (error.name or "").partition(".")[0]
    if missing == "keras":
        raise MissingExtraError("keras", "Training (KerasLayer, load, tags={'train'})") from error
    if missing in ("tensorflow", "jax", "torch"):
        raise MissingBackendError(
            "Keras has no backend to run on: pip install tensorflow-cpu, jax or torch, and set the "
            f"environment variable KERAS_BACKEND to tensorflow, jax or torch. Received: {error}"
        ) from error
    raise

from keras.backend import backend

from mobilenet_hub.keras.batch_norm import FusedBatchNorm, freeze_batch_norm
from mobilenet_hub.keras.canonical import assign_weights, to_weights
from mobilenet_hub.keras.classifier import classifier
from mobilenet_hub.keras.layer import KerasLayer
from mobilenet_hub.keras.model import endpoints, model
from mobilenet_hub.keras.reusable import load

__all__ = [
    "FusedBatchNorm",
    "KerasLayer",
    "assign_weights",
    "backend",
    "classifier",
    "endpoints",
    "freeze_batch_norm",
    "load",
    "model",
    "to_weights",
]
