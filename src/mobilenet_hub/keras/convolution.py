"""The layers of a network as Keras layers: one for each `networks.Layer`, named after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.keras import ops
from mobilenet_hub.keras.batch_norm import FusedBatchNorm
from mobilenet_hub.keras.naming import HubLayer, NamedVariables
from mobilenet_hub.networks import WEIGHT_DECAY, Layer

DataFormat = Literal["channels_last", "channels_first"]
Initial = Callable[[Layer], NDArray[np.float32]]


def he_normal(layer: Layer) -> NDArray[np.float32]:
    """A kernel to train from scratch (arXiv 1502.01852); `keras.utils.set_random_seed` seeds it.

    NumPy draws it, because Keras's initializers compile a program a shape on JAX.
    """
    inputs = 1 if layer.kind == "depthwise" else layer.in_channels
    scale = (2 / (layer.kernel**2 * inputs)) ** 0.5
    return (scale * np.random.standard_normal(layer.weights_shape)).astype(np.float32)


def unset(layer: Layer) -> NDArray[np.float32]:
    """A kernel whose values are still to come: used before that, it shows."""
    return np.full(layer.weights_shape, np.nan, np.float32)


@keras.saving.register_keras_serializable(package="mobilenet_hub")
class L2Loss(keras.regularizers.Regularizer):
    """`weight_decay · sum(w²) / 2`, as TF-Slim's `l2_regularizer`; in float32 for any dtype."""

    def __init__(self, weight_decay: float = WEIGHT_DECAY) -> None:
        self.weight_decay = weight_decay

    def __call__(self, x: Any) -> Any:
        """The loss: a float32 scalar."""
        return self.weight_decay / 2 * keras.ops.sum(keras.ops.square(keras.ops.cast(x, "float32")))

    def get_config(self) -> dict[str, float]:
        """What rebuilds it."""
        return {"weight_decay": self.weight_decay}


class _NetworkLayer(NamedVariables):
    """What the two kinds of layers share: a `networks.Layer`, and its variable names.

    Keras allows no "/" in a layer's name, so the layer is named by its TF-Slim scope with "/" as
    "_", without the root; its variables' `path` is TF-Slim's name to the letter, wherever in a
    model the layer is.
    """

    def __init__(
        self, layer: Layer, *, weight_decay: float, initial: Initial, **kwargs: Any
    ) -> None:
        kwargs.setdefault("name", layer.scope.partition("/")[2].replace("/", "_"))
        super().__init__(autocast=False, **kwargs)  # what is cast, and what not, is said here
        self.layer = layer
        self.weight_decay = weight_decay
        self._initial = initial

    def _slim_scope(self) -> Any:
        parent, _, leaf = self.layer.scope.rpartition("/")
        return keras.name_scope(leaf, override_parent=parent)

    def _variable(self, name: str, initial: NDArray[np.float32]) -> keras.Variable:
        """A trainable variable; `add_weight` would name it after the layer."""
        return keras.Variable(initial, dtype=self.variable_dtype, name=name)

    def _kernel(self, *, regularized: bool) -> keras.Variable:
        kernel = self._variable(
            self.layer.weights_name.rpartition("/")[2], self._initial(self.layer)
        )
        if regularized and self.weight_decay:
            kernel.regularizer = L2Loss(self.weight_decay)
        return kernel

    def _freeze_variables(self) -> None:
        """Of a layer that was made not trainable, as from a config."""
        for variable in self._own():
            variable.trainable = self.trainable

    def _own(self) -> list[keras.Variable]:
        return [self.kernel]

    def _cast(self, value: Any) -> Any:
        return keras.ops.cast(value, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        own = {"layer": asdict(self.layer), "weight_decay": self.weight_decay}
        return super().get_config() | own

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> HubLayer:
        """The layer of a config."""
        layer = {**config["layer"], "endpoints": tuple(config["layer"]["endpoints"])}
        if "relu6" in layer:  # as files of version 0.1.0 had it
            layer["activation"] = "relu6" if layer.pop("relu6") else None
        return super().from_config({**config, "layer": Layer(**layer)})


@keras.saving.register_keras_serializable(package="mobilenet_hub")
class Convolution(_NetworkLayer):
    """A convolution, its batch norm, and, where the network has them, ReLU6 and the residual.

    Args:
        layer: which one of the network; not the logits.
        momentum: default of the batch norm.
        weight_decay: of the kernel, unless the convolution is depthwise.
        data_format: `channels_last` or `channels_first`, of inputs and outputs.
        initial: makes the kernel to begin with.
        batch_norm_trainable: whether the batch norm is, where the layer is.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(
        self,
        layer: Layer,
        *,
        momentum: float = 0.99,
        weight_decay: float = WEIGHT_DECAY,
        data_format: DataFormat = "channels_last",
        initial: Initial = he_normal,
        batch_norm_trainable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(layer, weight_decay=weight_decay, initial=initial, **kwargs)
        self.momentum = momentum
        self.data_format = data_format
        self._axis = -1 if data_format == "channels_last" else 1
        self.batch_norm = FusedBatchNorm(
            momentum,
            axis=self._axis,
            name="BatchNorm",
            dtype=self.dtype_policy,
            trainable=self.trainable and batch_norm_trainable,
        )

    def build(self, inputs_shape: Any = None, residual_shape: Any = None) -> None:
        """Create the variables; the network says their shapes."""
        with self._slim_scope():
            self.kernel = self._kernel(regularized=self.layer.kind != "depthwise")
            shape: list[int | None] = [None] * 4
            shape[self._axis] = self.layer.out_channels
            self.batch_norm.build(tuple(shape))
        self._freeze_variables()

    def call(
        self,
        inputs: Any,
        residual: Any = None,
        training: bool | None = None,
        momentum: Any = None,
        update_averages: bool = True,
    ) -> Any:
        """Apply.

        Args:
            inputs: [batch, height, width, in_channels], or channels first.
            residual: the value to add, if the network has a residual link here.
            training: whether batch norm uses the batch's statistics.
            momentum: of its update.
            update_averages: whether there is one.
        """
        x = ops.convolve(
            self._cast(inputs),
            self._cast(self.kernel),
            stride=self.layer.stride,
            depthwise=self.layer.kind == "depthwise",
            data_format=self.data_format,
        )
        x = self.batch_norm(
            x, training=training, momentum=momentum, update_averages=update_averages
        )
        if self.layer.activation is not None:
            x = getattr(keras.ops, self.layer.activation)(x)
        return x if residual is None else x + residual

    def compute_output_spec(
        self, inputs: Any, residual: Any = None, **kwargs: Any
    ) -> keras.KerasTensor:
        """Shape and dtype of the output, without computing."""
        sizes = [s if s is None else -(-s // self.layer.stride) for s in inputs.shape]
        sizes[0], sizes[self._axis] = inputs.shape[0], self.layer.out_channels
        return keras.KerasTensor(sizes, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        own = {
            "momentum": self.momentum,
            "data_format": self.data_format,
            "batch_norm_trainable": self.batch_norm.trainable,
        }
        return super().get_config() | own


@keras.saving.register_keras_serializable(package="mobilenet_hub")
class Logits(_NetworkLayer):
    """A layer of the head: a 1×1 convolution with bias on the pooled features.

    Args:
        layer: the network's `logits`, or its `hidden` layer before them, which has a ReLU.
        weight_decay: of the kernel.
        initial: makes the kernel to begin with.
        classifier: what the weights' metadata says of the classes; files of models carry it.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(
        self,
        layer: Layer,
        *,
        weight_decay: float = WEIGHT_DECAY,
        initial: Initial = he_normal,
        classifier: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(layer, weight_decay=weight_decay, initial=initial, **kwargs)
        self.classifier = dict(classifier or {})

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        return super().get_config() | {"classifier": self.classifier}

    def build(self, input_shape: Any = None) -> None:
        """Create `weights` [1, 1, in, out] and `biases` [out]."""
        with self._slim_scope():
            self.kernel = self._kernel(regularized=True)
            self.bias = self._variable("biases", np.zeros(self.layer.out_channels, np.float32))
        self._freeze_variables()

    def _own(self) -> list[keras.Variable]:
        return [self.kernel, self.bias]

    def call(self, inputs: Any) -> Any:
        """[batch, out] of features [batch, in]."""
        kernel = keras.ops.reshape(self._cast(self.kernel), self.layer.weights_shape[2:])
        x = keras.ops.matmul(self._cast(inputs), kernel) + self._cast(self.bias)
        return x if self.layer.activation is None else getattr(keras.ops, self.layer.activation)(x)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """[batch, out]."""
        return (input_shape[0], self.layer.out_channels)
