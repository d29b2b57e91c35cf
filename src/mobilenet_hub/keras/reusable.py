"""`hub.load`: a module as an object with TensorFlow's "reusable SavedModel" interface.

That is (https://www.tensorflow.org/hub/reusable_saved_models): callable, with `variables`,
`trainable_variables` and `regularization_losses`. It runs on any Keras backend, and nothing in it
is a SavedModel.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

import keras

from mobilenet_hub.keras.inputs import check_images
from mobilenet_hub.keras.network import InTraining, NetworkLayer, regularization_losses
from mobilenet_hub.signatures import Signatures, checked_momentum, checked_tags
from mobilenet_hub.weights.resolve import Spec, WeightsLike, resolve


class Reusable(InTraining):
    """A module to call, train and export; `hub.load` makes it.

    ```python
    module = hub.load("https://tfhub.dev/google/tf2-preview/mobilenet_v2/feature_vector/4")
    features = module(images, training=True, batch_norm_momentum=0.997)
    ```

    Args:
        network_layer: the Keras layer that computes it.

    Attributes:
        info: the module.
    """

    def __init__(self, network_layer: NetworkLayer) -> None:
        self.network_layer = network_layer
        self.info = network_layer.info

    def __call__(
        self,
        images: Any,
        training: bool = False,
        batch_norm_momentum: Any = None,
        return_endpoints: bool = False,
    ) -> Any:
        """Compute what the module computes.

        Args:
            images: [batch, height, width, 3], float in [0,1] or uint8 in [0,255].
            training: whether batch norm uses the batch's statistics and updates its moving
                averages, and a classifier drops features.
            batch_norm_momentum: of these averages: a number or a scalar tensor; that of the
                module's version by default.
            return_endpoints: whether to return a dict with all endpoints beside `default`.

        Returns:
            Tensors of Keras's backend: [batch, num_features] or [batch, num_classes]; or the dict.

        Raises:
            InputError, InputTypeError: images that do not fit.
        """
        check_images(images, self.info)
        if batch_norm_momentum is not None:
            checked_momentum(batch_norm_momentum)
        return self.network_layer(
            images,
            training=training,
            momentum=batch_norm_momentum,
            as_dict=return_endpoints,
        )

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

    @property
    def signatures(self) -> Mapping[str, Callable[..., dict[str, Any]]]:
        """Inference functions by name, each from `images=` to a dict of `default` and endpoints."""
        known = Signatures(self.info, self.network_layer.network)
        return MappingProxyType({name: self._signature(known, name) for name in known.names})

    def _signature(self, known: Signatures, name: str) -> Callable[..., dict[str, Any]]:
        def call(images: Any = None, **inputs: Any) -> dict[str, Any]:
            given = inputs if images is None else {"images": images, **inputs}
            images, _ = known.unpack(given, name)
            check_images(images, self.info)
            outputs: dict[str, Any] = self.network_layer(
                images, training=False, task=known.task(name), as_dict=True
            )
            return outputs

        call.__name__ = name
        return call

    def __repr__(self) -> str:
        """The handle and the backend."""
        return f"<hub.load {self.info.handle} on {keras.backend.backend()}>"


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
