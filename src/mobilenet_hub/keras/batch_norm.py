"""Batch normalisation exactly as TF-Slim's fused one, with which the modules were trained.

Keras's own layer differs where fine-tuning feels it: it updates the moving variance with the
*biased* variance of the batch, and its momentum cannot change from call to call. TensorFlow's fused
operation (`nn.fused_batch_norm`, TF-Slim's default) normalises by the biased variance too, but
hands out the *unbiased* one (Bessel's correction, n / (n − 1) with n = batch · height · width), and
TF-Slim averages that:

    moving ← moving · momentum + batch · (1 − momentum)

On the 7×7 maps at the end of a network and a batch of 4 the two differ by half a percent, at each
update.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from mobilenet_hub.keras import ops
from mobilenet_hub.keras.naming import NamedVariables
from mobilenet_hub.networks import BATCH_NORM_EPSILON


def freeze_batch_norm(layer: keras.layers.Layer) -> None:
    """Freeze every batch norm in a layer or model, its moving averages included.

    ```python
    mobilenet_hub.keras.freeze_batch_norm(model)  # then compile
    ```
    """
    for inner in layer._flatten_layers():
        if isinstance(inner, FusedBatchNorm):
            inner.trainable = False


@keras.saving.register_keras_serializable(package="mobilenet_hub")
class FusedBatchNorm(NamedVariables):
    """Batch normalisation of images, TF-Slim's fused semantics.

    In training the batch's own statistics normalise, and the moving averages are updated; in
    inference the moving averages normalise. With `trainable=False` the layer is frozen whole, in
    Keras's sense: the moving averages normalise, and stay as they are, in training too.

    Gamma, beta and the moving averages are float32 under every dtype policy: an average with
    momentum 0.99 cannot move in bfloat16.

    Args:
        momentum: of the moving averages, unless a call gives its own.
        epsilon: added to the variance.
        axis: of the channels, in inputs of rank 4: −1 or 1.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(
        self,
        momentum: float = 0.99,
        epsilon: float = BATCH_NORM_EPSILON,
        axis: int = -1,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # a momentum must not become float16
        self.momentum = momentum
        self.epsilon = epsilon
        self.axis = axis

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Create gamma, beta, moving_mean and moving_variance, float32 [channels], as identity."""
        channels = input_shape[self.axis]

        def variable(name: str, initial: float, **kwargs: Any) -> keras.Variable:
            value = np.full(channels, initial, np.float32)  # an initializer compiles, on JAX
            return keras.Variable(value, dtype="float32", autocast=False, name=name, **kwargs)

        # Each replica of a distributed step moves its own averages, without waiting for the others;
        # reading gives their mean.
        average: dict[str, Any] = {
            "trainable": False,
            "aggregation": "mean",
            "synchronization": "on_read",
        }
        self.gamma, self.beta = variable("gamma", 1.0), variable("beta", 0.0)
        self.gamma.trainable = self.beta.trainable = self.trainable  # of a config, perhaps not
        self.moving_mean = variable("moving_mean", 0.0, **average)
        self.moving_variance = variable("moving_variance", 1.0, **average)

    def call(
        self,
        inputs: Any,
        training: bool | None = None,
        momentum: Any = None,
        update_averages: bool = True,
    ) -> Any:
        """Normalise.

        Args:
            inputs: [batch, height, width, channels] (or channels first, as `axis` says).
            training: whether by the batch's own statistics.
            momentum: of this update, a number or a scalar tensor; the layer's own by default.
            update_averages: whether training updates the moving averages.
        """
        tensor = keras.ops.convert_to_tensor
        scales = (tensor(self.gamma), tensor(self.beta))
        shape: dict[str, Any] = {"epsilon": self.epsilon, "axis": self.axis}
        if not (training and self.trainable):
            averages = (tensor(self.moving_mean), tensor(self.moving_variance))
            return ops.batch_norm_infer(inputs, *scales, *averages, **shape)
        outputs, mean, unbiased_variance = ops.batch_norm_train(inputs, *scales, **shape)
        if update_averages:
            keep = self.momentum if momentum is None else keras.ops.cast(momentum, "float32")
            self.moving_mean.assign(self.moving_mean * keep + mean * (1 - keep))
            self.moving_variance.assign(
                self.moving_variance * keep + unbiased_variance * (1 - keep)
            )
        return outputs

    def _own(self) -> list[keras.Variable]:
        return [self.gamma, self.beta, self.moving_mean, self.moving_variance]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        own = {"momentum": self.momentum, "epsilon": self.epsilon, "axis": self.axis}
        return super().get_config() | own
