"""A network as TensorFlow operations on TensorFlow variables: what every TensorFlow form shares.

Names and operations are TF-Slim's, to the name of a node in a frozen graph, and so is batch
normalisation: `FusedBatchNormV3` normalises by the biased variance of a batch and hands out the
unbiased one (Bessel's correction), which the moving average takes:

    moving ← moving − (moving − batch) · (1 − momentum)

Sources: TF-Slim `nets/mobilenet_v1.py`, `nets/mobilenet/mobilenet.py`, `layers.batch_norm`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import tensorflow as tf

from mobilenet_hub.catalog import Task
from mobilenet_hub.networks import (
    BATCH_NORM_EPSILON,
    DROPOUT_RATES,
    WEIGHT_DECAY,
    Layer,
    Network,
)
from mobilenet_hub.weights.canonical import Tensors

Made = TypeVar("Made")

# What functions being traced have made outside of themselves, as long as they live.
_KEPT: WeakKeyDictionary[Any, list[Any]] = WeakKeyDictionary()

# Collections of a TF1 graph that name variables; without a graph they mean nothing.
_KEYS = tf.compat.v1.GraphKeys


@dataclass(frozen=True)
class Applied:
    """What one application of a network made.

    Attributes:
        features: float32 [batch, num_features].
        logits: float32 [batch, num_classes]; None if they were not asked for.
        endpoints: float32 [batch, height, width, channels], by TF-Slim name with the network's
            scope before it.
        updates: assignments to the moving averages, mean and variance of a layer after another:
            done already in eager execution and in functions, to be run in a TF1 graph.
    """

    features: Any
    logits: Any
    endpoints: dict[str, Any]
    updates: list[Any]

    def outputs(self, task: Task) -> dict[str, Any]:
        """The outputs of a signature by name: `default`, and the endpoints."""
        default = self.logits if task == "classification" else self.features
        return {"default": default, **self.endpoints}


class MobileNet(tf.Module):
    """The variables of a network, and the operations on them.

    The variables are made in the current name scope, each under its canonical name and with its
    value; where their graph is a TF1 graph, `global_variables_initializer()` gives it to them.

    Args:
        network: which.
        tensors: values to begin with, by canonical name; None leaves the variables NaN, for a file
            to bring them.
        logits: whether with the classification layer.
        trainable: whether kernels, biases, gamma and beta are trainable variables.
    """

    def __init__(
        self, network: Network, tensors: Tensors | None, *, logits: bool, trainable: bool = True
    ) -> None:
        super().__init__()
        self.network = network
        self.by_name: Mapping[str, Any] = {
            name: _variable(
                name,
                np.full(shape, np.nan, np.float32) if tensors is None else tensors[name],
                trainable=trainable and "/moving_" not in name,
            )
            for name, shape in network.variables(logits=logits).items()
        }

    def apply(
        self,
        images: Any,
        *,
        logits: bool,
        training: bool = False,
        momentum: Any = 0.99,
        update_averages: bool = True,
    ) -> Applied:
        """Compute the network.

        Args:
            images: float32 [batch, height, width, 3] in [0,1].
            logits: whether to compute them too.
            training: whether batch norm uses the batch's statistics, and dropout drops.
            momentum: of the moving averages: a number or a scalar tensor.
            update_averages: whether training updates them.
        """
        updates: list[Any] = []
        keep = momentum if update_averages else None
        with tf.name_scope("hub_input"):
            low, high = self.network.input_range
            x = tf.subtract(tf.multiply(images, high - low, name="Mul"), -low, name="Sub")
        values: dict[str, Any] = {}
        endpoints: dict[str, Any] = {}
        for layer in self.network.convolutions:
            residual = None if layer.residual is None else values[layer.residual]
            x = self._convolution(layer, x, residual, training, keep, updates)
            values[layer.scope] = x
            endpoints |= {f"{self.network.scope}/{name}": x for name in layer.endpoints}
        pooled = tf.reduce_mean(x, (1, 2), keepdims=True, name=f"{self.network.scope}/AvgPool")
        return Applied(
            tf.squeeze(pooled, (1, 2), name="hub_output/feature_vector/SpatialSqueeze"),
            self._logits(self.network, pooled, training) if logits else None,
            endpoints,
            updates,
        )

    def _convolution(
        self,
        layer: Layer,
        x: Any,
        residual: Any,
        training: bool,
        momentum: Any,
        updates: list[Any],
    ) -> Any:
        kernel = self.by_name[layer.weights_name]
        strides = (1, layer.stride, layer.stride, 1)
        # TF-Slim's V1 opens its scope twice around operations, once around variables.
        doubled = self.network.family == "mobilenet_v1"
        with tf.name_scope(f"{self.network.scope}/{layer.scope}" if doubled else layer.scope):
            if layer.kind == "depthwise":
                x = tf.nn.depthwise_conv2d(x, kernel, strides, "SAME", name="depthwise")
            else:
                x = tf.nn.conv2d(x, kernel, strides, "SAME", name="Conv2D")
            with tf.name_scope("BatchNorm"):
                x = self._batch_norm(layer, x, training, momentum, updates)
            if layer.activation is not None:
                x = getattr(tf.nn, layer.activation)(x, name=layer.activation.capitalize())
            return x if residual is None else tf.add(x, residual, name="add")

    def _batch_norm(
        self, layer: Layer, x: Any, training: bool, momentum: Any, updates: list[Any]
    ) -> Any:
        gamma, beta, mean, variance = (
            self.by_name[layer.batch_norm_name(statistic)]
            for statistic in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        norm = tf.compat.v1.nn.fused_batch_norm
        if not training:
            return norm(
                x, gamma, beta, mean, variance, epsilon=BATCH_NORM_EPSILON, is_training=False
            )[0]
        y, *batch = norm(x, gamma, beta, epsilon=BATCH_NORM_EPSILON, is_training=True)
        if momentum is not None:
            gone = 1.0 - tf.cast(momentum, tf.float32)
            for moving, value in zip((mean, variance), batch, strict=True):
                with tf.name_scope("AssignMovingAvg"):
                    change = (moving - tf.stop_gradient(value)) * gone
                    updates.append(moving.assign_sub(change, read_value=False))
        return y

    def _logits(self, network: Network, pooled: Any, training: bool) -> Any:
        with tf.name_scope(f"{network.scope}/Logits"):
            x = pooled
            if training:
                x = tf.nn.dropout(x, DROPOUT_RATES[network.family], name="Dropout")
            for layer in network.head:
                x = self._dense(layer, x)
            return tf.squeeze(x, (1, 2), name="SpatialSqueeze")

    def _dense(self, layer: Layer, x: Any) -> Any:
        with tf.name_scope(layer.scope.rpartition("/")[2]):
            x = tf.nn.conv2d(x, self.by_name[layer.weights_name], 1, "SAME", name="Conv2D")
            x = tf.nn.bias_add(x, self.by_name[f"{layer.scope}/biases"], name="BiasAdd")
            if layer.activation is not None:
                x = getattr(tf.nn, layer.activation)(x, name=layer.activation.capitalize())
            return x

    @property
    def regularized(self) -> dict[str, Any]:
        """The kernels with an L2 loss, by canonical name: all but the depthwise ones."""
        layers = (layer for layer in self.network.layers if layer.kind != "depthwise")
        names = (layer.weights_name for layer in layers)
        return {name: self.by_name[name] for name in names if name in self.by_name}


def l2_loss(kernel: Any, name: str | None = None) -> Any:
    """The regularization loss of a kernel, a float32 scalar: `WEIGHT_DECAY · sum(w²) / 2`."""
    return tf.multiply(WEIGHT_DECAY, tf.nn.l2_loss(kernel), name=name)


def add_regularization_losses(network: MobileNet) -> None:
    """Put the losses of a network into its graph's collection `REGULARIZATION_LOSSES`."""
    for name, kernel in network.regularized.items():
        loss = l2_loss(kernel, f"{name.rpartition('/')[0]}/kernel/Regularizer/l2_regularizer")
        tf.compat.v1.add_to_collection(_KEYS.REGULARIZATION_LOSSES, loss)


def made_outside(make: Callable[[], Made]) -> Made:
    """What `make` makes of variables, outside of a function that is being traced.

    The variables live as long as that function, whatever becomes of what was made.
    """
    graph = current_graph()
    if graph is None or not graph.building_function:
        with tf.init_scope():
            return make()
    with tf.init_scope():
        if tf.executing_eagerly():
            # A function rewrites what makes a variable in its graph, and allows it once only; in
            # another graph nothing is rewritten.
            with tf.Graph().as_default(), tf.__internal__.eager_context.eager_mode():
                made = make()
        else:
            made = make()
    _KEPT.setdefault(graph, []).append(made)
    return made


def current_graph() -> Any:
    """The graph that operations are added to; None in eager execution."""
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


def _variable(name: str, value: Any, *, trainable: bool) -> Any:
    collections = [_KEYS.GLOBAL_VARIABLES, _KEYS.MODEL_VARIABLES]
    # Each replica of a distributed step moves its own averages; reading gives their mean.
    average = {
        "aggregation": tf.VariableAggregation.MEAN,
        "synchronization": tf.VariableSynchronization.ON_READ,
    }
    return tf.compat.v1.Variable(
        value,
        trainable=trainable,
        name=name,
        use_resource=True,
        collections=[*collections, _KEYS.TRAINABLE_VARIABLES] if trainable else collections,
        **(average if "/moving_" in name else {}),
    )
