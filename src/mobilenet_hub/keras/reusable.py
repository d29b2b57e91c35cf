"""`hub.load` on Keras: a module as an object with TensorFlow's "reusable SavedModel" interface.

That is (https://www.tensorflow.org/hub/reusable_saved_models): callable, with `variables`,
`trainable_variables` and `regularization_losses`. It runs on any Keras backend, and nothing in it
is a SavedModel.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import keras

from mobilenet_hub.catalog import Task
from mobilenet_hub.keras.inputs import check_tensor
from mobilenet_hub.keras.network import InTraining, NetworkLayer, regularization_losses
from mobilenet_hub.signatures import BaseLoaded, checked_momentum, checked_tags
from mobilenet_hub.weights.resolve import Spec, WeightsLike, resolve


class Reusable(InTraining, BaseLoaded):
    """A module to call, train and export; `hub.load` makes it.

    ```python
    module = hub.load("https://tfhub.dev/google/tf2-preview/mobilenet_v2/feature_vector/4")
    features = module(images, training=True, batch_norm_momentum=0.997)
    ```

    Args:
        network_layer: the Keras layer that computes it.
        image_shape: of one image, (height, width, 3), in place of the module's own.

    Attributes:
        info: the module.
        network: its network.
    """

    def __init__(
        self, network_layer: NetworkLayer, image_shape: Sequence[int | None] | None = None
    ) -> None:
        self.network_layer = network_layer
        self.info, self.network = network_layer.info, network_layer.network
        self._image_shape = image_shape

    @property
    def variables(self) -> list[keras.Variable]:
        """All, in network order; `path` is TF-Slim's name."""
        return list(self.network_layer.weights)

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """Kernels, biases, gamma and beta, in network order."""
        return list(self.network_layer.trainable_weights)

    @property
    def regularization_losses(self) -> list[Callable[[], Any]]:
        """To be called, each, and added to the loss: one for every regularized kernel."""
        return regularization_losses(self.trainable_variables)

    def __repr__(self) -> str:
        """The handle and the backend."""
        return f"<hub.load {self.info.handle} on {keras.backend.backend()}>"

    def _call(self, images: Any, task: Task, training: bool, momentum: Any, as_dict: bool) -> Any:
        check_tensor(images, self.info, self._image_shape)
        if momentum is not None:
            checked_momentum(momentum)
        return self.network_layer(
            images, training=training, momentum=momentum, task=task, as_dict=as_dict
        )


def load(
    handle: Spec,
    tags: Collection[str] | None = None,
    options: Any = None,
    *,
    weights: WeightsLike = None,
    dtype: Any = None,
) -> Reusable:
    """Load a module as a trainable object, as `tensorflow_hub.load` did.

    Args:
        handle: of a module, or the path of a file, folder or archive with weights in any format
            this library reads.
        tags: none or `{"serve"}`; `{"train"}` too, since the object does both.
        options: kept for compatibility (TensorFlow's `LoadOptions`); there is nothing to set.
        weights: instead of the published ones, as in `hub.Module`.
        dtype: Keras dtype or policy; the global policy by default.

    Raises:
        UnknownHandleError, MissingWeightsError, WeightsError: as `hub.Module`.
        TagsError: there is no such graph variant.
    """
    checked_tags(tags, "serve")
    resolved = resolve(handle, weights)
    return Reusable(NetworkLayer(resolved.info, resolved.weights, dtype=dtype))
