"""A whole network as one Keras layer, and the one place that says how its layers follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from mobilenet_hub.catalog import Task
from mobilenet_hub.keras.convolution import Convolution, DataFormat, Logits, unset
from mobilenet_hub.networks import WEIGHT_DECAY, Family, Network

# TF-Slim's dropout on the pooled features, before the logits, in training.
_DROPOUT: dict[Family, float] = {"mobilenet_v1": 1 - 0.999, "mobilenet_v2": 1 - 0.8}


@dataclass(frozen=True)
class Settings:
    """How the layers of a network are made.

    Attributes:
        momentum: default of the batch norms.
        weight_decay: of the regularized kernels.
        data_format: `channels_last` or `channels_first`.
        dtype: of the layers, or their policy.
    """

    momentum: float = 0.99
    weight_decay: float = WEIGHT_DECAY
    data_format: DataFormat = "channels_last"
    dtype: Any = None


class LayerChain:
    """The Keras layers of a network, made once, applied to tensors or to symbols of them.

    Their kernels are unset: give them values by `assign_weights`, or from a file.
    """

    def __init__(self, network: Network, settings: Settings, *, logits: bool) -> None:
        common = {
            "weight_decay": settings.weight_decay,
            "dtype": settings.dtype,
            "initial": unset,
        }
        # In float32 under every policy: 2x − 1 of a rounded x loses what is near zero.
        self.scale = keras.layers.Rescaling(2.0, -1.0, name="inputs_scaled", dtype="float32")
        self.convolutions = [
            Convolution(
                layer, momentum=settings.momentum, data_format=settings.data_format, **common
            )
            for layer in network.convolutions
        ]
        self.pool = keras.layers.GlobalAveragePooling2D(
            settings.data_format, name="global_pool", dtype=settings.dtype
        )
        self.head: list[keras.layers.Layer] = []
        if logits:
            rate = _DROPOUT[network.family]
            dropout = keras.layers.Dropout(rate, name="dropout", dtype=settings.dtype)
            self.head = [dropout, Logits(network.logits, **common)]
        for layer in (*self.convolutions, *self.head[1:]):
            layer.build()

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """All, in order."""
        return [self.scale, *self.convolutions, self.pool, *self.head]

    def features(self, images: Any, **options: Any) -> tuple[Any, dict[str, Any]]:
        """The pooled features of images, and every endpoint.

        Args:
            images: in [0,1], in the layout of the settings.
            **options: of `Convolution`: `training`, `momentum`, `update_averages`. Without
                `training`, Keras decides about it when the layer or model is called.

        Returns:
            features [batch, num_features]; endpoints by their TF-Slim name, without prefix.
        """
        x = self.scale(images)
        values: dict[str, Any] = {}
        endpoints: dict[str, Any] = {}
        for convolution in self.convolutions:
            layer = convolution.layer
            residual = {} if layer.residual is None else {"residual": values[layer.residual]}
            x = convolution(x, **residual, **options)
            values[layer.scope] = x
            endpoints |= dict.fromkeys(layer.endpoints, x)
        return self.pool(x), endpoints

    def logits(self, features: Any, **training: Any) -> Any:
        """Logits [batch, num_classes] of features, with TF-Slim's dropout in training."""
        dropout, logits = self.head
        return logits(dropout(features, **training))


class NetworkLayer(keras.layers.Layer):
    """A network as one layer, whose momentum, task and outputs are chosen call by call.

    It is the trained thing that `KerasLayer`, `hub.load` and `hub.Module` share and dress up.

    Args:
        network: which.
        logits: whether with the classification layer.
        settings: of its layers.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(
        self, network: Network, settings: Settings | None = None, *, logits: bool, **kwargs: Any
    ) -> None:
        settings = settings or Settings()
        super().__init__(name="network", dtype=settings.dtype, autocast=False, **kwargs)
        self.network = network
        self._chain = LayerChain(network, settings, logits=logits)
        self._sublayers = self._chain.layers  # so that Keras sees them
        self.built = True

    def call(
        self,
        images: Any,
        training: bool | None = None,
        momentum: Any = None,
        update_averages: bool = True,
        task: Task = "feature_vector",
        as_dict: bool = False,
    ) -> Any:
        """Apply.

        Args:
            images: [batch, height, width, 3], float in [0,1] or uint8 in [0,255].
            training: whether batch norm uses the batch's statistics, and dropout drops.
            momentum: of the moving averages, a number or a scalar tensor.
            update_averages: whether training updates them.
            task: `feature_vector` or `classification`.
            as_dict: whether to return all endpoints too.

        Returns:
            [batch, num_features] or [batch, num_classes]; or a dict of it as `default` and of the
            endpoints, each prefixed by the network's scope.
        """
        if keras.backend.standardize_dtype(images.dtype) == "uint8":
            images = keras.ops.cast(images, "float32") / 255.0
        output, endpoints = self._chain.features(
            images, training=training, momentum=momentum, update_averages=update_averages
        )
        if task == "classification":
            output = self._chain.logits(output, training=training)
        if not as_dict:
            return output
        scope = self.network.scope
        return {"default": output} | {f"{scope}/{name}": x for name, x in endpoints.items()}
