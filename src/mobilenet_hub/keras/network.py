"""A whole network as one Keras layer, and the one place that says how its layers follow."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Set
from functools import partial
from typing import Any

import keras
import numpy as np

from mobilenet_hub.catalog import ModuleInfo, Task
from mobilenet_hub.errors import KerasLayerError
from mobilenet_hub.keras.canonical import as_float32, assign_weights, to_weights, variables_by_name
from mobilenet_hub.keras.convolution import Convolution, DataFormat, Logits, unset
from mobilenet_hub.keras.inputs import InputScaling
from mobilenet_hub.networks import DROPOUT_RATES, WEIGHT_DECAY, Network
from mobilenet_hub.signatures import ExportsWeights, checked_momentum
from mobilenet_hub.weights.canonical import Weights, carried, once_trained


class NetworkLayer(keras.layers.Layer):
    """A network as one layer, whose momentum, task and outputs are chosen call by call.

    It is the trained thing that `KerasLayer`, `hub.load` and `hub.Module` share and dress up;
    `mobilenet_hub.keras.model` strings its layers into a functional model.

    Args:
        info: the module whose network it is.
        weights: to begin with; None leaves the kernels NaN, for a file to bring them.
        network: what it computes, where there are no weights to say so; the module's by default.
        momentum: default of the batch norms; that of the module's version by default.
        weight_decay: of the regularized kernels.
        data_format: `channels_last` or `channels_first`.
        dtype: Keras dtype or policy of all layers; the global policy by default.

    Attributes:
        info: the module.
        network: of the weights; its number of classes may be the caller's own.
        is_unset: whether it was made without weights.
        metadata: of the weights once they are trained: provenance, and what of a classifier's
            settings training leaves as it is: not what was fitted to the weights before.
    """

    def __init__(
        self,
        info: ModuleInfo,
        weights: Weights | None,
        *,
        network: Network | None = None,
        momentum: float | None = None,
        weight_decay: float = WEIGHT_DECAY,
        data_format: DataFormat = "channels_last",
        dtype: Any = None,
    ) -> None:
        _refuse_graphs(functions=True)
        super().__init__(name="network", dtype=dtype, autocast=False)
        network = weights.network if weights is not None else network or info.network
        self.info, self.network, self.is_unset = info, network, weights is None
        self.metadata = once_trained(info.handle, weights)
        momentum = info.batch_norm_momentum if momentum is None else checked_momentum(momentum)
        common = {"weight_decay": weight_decay, "dtype": dtype, "initial": unset}
        self.weight_decay = weight_decay
        self.scale = InputScaling(network.input_range, name="inputs_scaled", dtype=dtype)
        self.convolutions = [
            Convolution(layer, momentum=momentum, data_format=data_format, **common)
            for layer in network.convolutions
        ]
        self.pool = keras.layers.GlobalAveragePooling2D(
            data_format, name="global_pool", dtype=dtype
        )
        self.head: list[keras.layers.Layer] = []
        if info.task == "classification":
            rate = DROPOUT_RATES[network.family]
            dropout = keras.layers.Dropout(rate, name="dropout", dtype=dtype)
            self.head = [dropout, *(Logits(layer, **common) for layer in network.head)]
            self.head[-1].classifier = carried(self.metadata)
        for layer in (*self.convolutions, *self.head[1:]):
            layer.build()
        # Under this name they stand in Keras's files.
        self._sublayers = [self.scale, *self.convolutions, self.pool, *self.head]
        self.build()  # Keras's own: tells torch of the parameters
        self._last: Weights | None = None
        if weights is not None:
            assign_weights(self, weights)
            self._last = _only(weights, variables_by_name(self).keys())

    def call(
        self,
        images: Any,
        training: bool | None = None,
        momentum: Any = None,
        update_averages: bool = True,
        task: Task | None = None,
        as_dict: bool = False,
    ) -> Any:
        """Apply.

        Args:
            images: [batch, height, width, 3], float in [0,1] or uint8 in [0,255].
            training: whether batch norm uses the batch's statistics, and dropout drops.
            momentum: of the moving averages, a number or a scalar tensor.
            update_averages: whether training updates them.
            task: `feature_vector` or `classification`; the module's own by default.
            as_dict: whether to return all endpoints too.

        Returns:
            [batch, num_features] or [batch, num_classes]; or a dict of it as `default` and of the
            endpoints, each prefixed by the network's scope.
        """
        _refuse_graphs(functions=False)
        output, endpoints = self.features(
            images, training=training, momentum=momentum, update_averages=update_averages
        )
        if (task or self.info.task) == "classification":
            output = self.logits(output, training=training)
        if not as_dict:
            return output
        scope = self.network.scope
        return {"default": output} | {f"{scope}/{name}": x for name, x in endpoints.items()}

    def features(self, images: Any, **options: Any) -> tuple[Any, dict[str, Any]]:
        """The pooled features of images, and every endpoint: of tensors, or of symbols of them.

        Args:
            images: floats in [0,1] or uint8, in the layout of `data_format`.
            **options: of `Convolution`: `training`, `momentum`, `update_averages`. Without
                `training`, Keras decides about it when the layer or model is called.

        Returns:
            features [batch, num_features]; endpoints by their TF-Slim name, without prefix.
        """
        x, endpoints = self.through(self.scale(images), **options)
        return self.pool(x), endpoints

    def through(
        self, x: Any, start: int = 0, stop: int | None = None, **options: Any
    ) -> tuple[Any, dict[str, Any]]:
        """Maps through some of the convolutions.

        Args:
            x: maps [batch, height, width, channels] that the convolution before `start` gave;
                of the first, scaled images.
            start: the number of the first convolution; none from there on may add what lies further
                back than `x`.
            stop: the number of the one that is the first left out; none by default.
            **options: of `Convolution`, as in `features`.

        Returns:
            maps [batch, height, width, channels]; endpoints by their TF-Slim name.
        """
        values = {self.convolutions[start - 1].layer.scope: x} if start else {}
        endpoints: dict[str, Any] = {}
        for convolution in self.convolutions[start:stop]:
            layer = convolution.layer
            residual = {} if layer.residual is None else {"residual": values[layer.residual]}
            x = convolution(x, **residual, **options)
            values[layer.scope] = x
            endpoints |= dict.fromkeys(layer.endpoints, x)
        return x, endpoints

    def logits(self, features: Any, **training: Any) -> Any:
        """Logits [batch, num_classes] of features, with TF-Slim's dropout in training."""
        dropout, *dense = self.head
        x = dropout(features, **training)
        for layer in dense:
            x = layer(x)
        return x

    def build(self, images_shape: Any = None) -> None:
        """The layers are built."""

    def frozen(self) -> list[str]:
        """Scopes of the layers, and of single batch norms, that are not trainable."""
        scopes: list[str] = []
        for layer in (*self.convolutions, *self.head[1:]):
            if not layer.trainable:
                scopes.append(layer.layer.scope)
            elif isinstance(layer, Convolution) and not layer.batch_norm.trainable:
                scopes.append(f"{layer.layer.scope}/BatchNorm")
        return scopes

    def freeze(self, scopes: Collection[str]) -> None:
        """Make what `frozen` named not trainable."""
        for layer in (*self.convolutions, *self.head[1:]):
            if layer.layer.scope in scopes:
                layer.trainable = False
            elif f"{layer.layer.scope}/BatchNorm" in scopes:
                layer.batch_norm.trainable = False

    def current_weights(self) -> Weights:
        """The weights now; the same object as last time if they did not change since.

        Raises:
            WeightsError: values that are not finite: the training went wrong.
        """
        if self._last is None or any(
            not np.array_equal(as_float32(variable), self._last.tensors[name])
            for name, variable in variables_by_name(self).items()
        ):
            self._last = to_weights(self, metadata=self.metadata, network=self.network)
        return self._last


class InTraining(ExportsWeights):
    """What every form of a module in training has: weights that change, and that can be kept.

    Attributes:
        network_layer: the Keras layer that computes it, with `stateless_call` and all.
    """

    network_layer: NetworkLayer

    def current_weights(self) -> Weights:
        """The weights as they are now, in canonical form.

        Raises:
            WeightsError: values that are not finite: the training went wrong.
        """
        return self.network_layer.current_weights()


def regularization_losses(variables: Iterable[keras.Variable]) -> list[Callable[[], Any]]:
    """To be called, each, and added to the loss: one for every regularized kernel among these."""
    return [
        partial(variable.regularizer, variable)
        for variable in variables
        if variable.regularizer is not None
    ]


def _only(weights: Weights, names: Set[str]) -> Weights:
    """These tensors of weights: without the logits, for a layer that has none."""
    if names == weights.tensors.keys():
        return weights
    tensors = {name: value for name, value in weights.tensors.items() if name in names}
    return Weights(weights.network, tensors, weights.metadata)


def _refuse_graphs(*, functions: bool) -> None:
    """Keras 3 on TensorFlow knows nothing of TF1 graphs: its variables are constants, or NaN there.

    Args:
        functions: whether functions being traced are refused too, where variables are to be made.

    Raises:
        KerasLayerError: says what does run there.
    """
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    if tf.executing_eagerly():
        return
    if functions or not tf.compat.v1.get_default_graph().building_function:
        raise KerasLayerError(
            "Keras 3 makes layers in eager execution only, and does not run in TensorFlow 1's "
            "graphs: make the layer outside of the function; in graphs and sessions use "
            "hub.Module, or tf_keras (TF_USE_LEGACY_KERAS=1). Received: a graph"
        )
