"""`hub.Module(handle, trainable=True, tags={"train"})`: the TF1 interface, in training."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import keras

from mobilenet_hub.catalog import Task
from mobilenet_hub.keras.canonical import variables_by_name
from mobilenet_hub.keras.inputs import check_tensor
from mobilenet_hub.keras.network import InTraining, NetworkLayer, regularization_losses
from mobilenet_hub.signatures import BaseModule, Signatures, checked_tags
from mobilenet_hub.weights.resolve import Spec, WeightsLike, resolve


class TrainingModule(InTraining, BaseModule):
    """A module whose inputs and outputs are tensors of Keras's backend, with its autograd.

    ```python
    module = hub.Module(handle, trainable=True, tags={"train"})
    features = module(
        inputs=dict(images=images, batch_norm_momentum=0.997),
        signature="image_feature_vector_with_bn_hparams",
    )
    ```

    As in `tensorflow_hub`, `tags` and `trainable` are two things. The tag `train` makes batch norm
    use the statistics of the batch, and a classifier drop features. `trainable` makes variables
    trainable, moving averages move, and kernels regularized; without it nothing changes, though
    gradients still flow through to the images. `trainable` without the tag trains the variables
    through batch norm in inference mode.

    `hub.Module(module)` is the same module in inference on the fast runtime: each of its calls
    takes the weights as they are then.

    Args:
        spec: as for `hub.Module`.
        trainable: see above.
        name: names nothing but the repr.
        tags: none or `{"train"}`.
        weights: as for `hub.Module`.
        dtype: Keras dtype or policy; the global policy by default.
    """

    def __init__(
        self,
        spec: Spec,
        trainable: bool = False,
        name: str = "module",
        tags: Collection[str] | None = None,
        *,
        weights: WeightsLike = None,
        dtype: Any = None,
    ) -> None:
        resolved = resolve(spec, weights)
        self.info = resolved.info
        self.name = name
        self.trainable = trainable
        self.tags = checked_tags(tags)
        self.network_layer = NetworkLayer(self.info, resolved.weights, dtype=dtype)

    def __getstate__(self) -> dict[str, Any]:
        """The weights in place of the variables: a copy is trained apart."""
        dtype = keras.dtype_policies.serialize(self.network_layer.dtype_policy)
        return {**vars(self), "network_layer": (self.current_weights(), dtype)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        weights, dtype = state["network_layer"]
        vars(self).update(state)
        policy = keras.dtype_policies.deserialize(dtype)
        self.network_layer = NetworkLayer(self.info, weights, dtype=policy)

    def _compute(
        self, images: Any, task: Task, names: tuple[str, ...], momentum: Any
    ) -> dict[str, Any]:
        check_tensor(images, self.info)
        outputs = self.network_layer(
            images,
            training="train" in self.tags,
            momentum=momentum,
            update_averages=self.trainable,
            task=task,
            as_dict=True,
        )
        return {name: outputs[name] for name in names}

    def stateless_call(
        self,
        trainable_variables: Sequence[Any],
        non_trainable_variables: Sequence[Any],
        inputs: Any,
        *,
        return_losses: bool = False,
        **options: Any,
    ) -> tuple[Any, ...]:
        """A call without side effects, as `keras.Layer.stateless_call`: what JAX transforms.

        Args:
            trainable_variables: values of the attribute of that name, in its order.
            non_trainable_variables: the same.
            inputs: of the call.
            return_losses: whether to return the regularization losses too.
            **options: of the call: `signature`, `as_dict`, `outputs`.

        Returns:
            outputs, the non-trainable values after the call, and, if asked for, the losses.
        """
        own = [*self.trainable_variables, *self.non_trainable_variables]
        values = [*trainable_variables, *non_trainable_variables]
        with keras.StatelessScope(state_mapping=list(zip(own, values, strict=True))) as scope:
            outputs = self(inputs, **options)
            losses = [loss() for loss in self.regularization_losses] if return_losses else []
        after = [scope.get_current_value(variable) for variable in self.non_trainable_variables]
        return (outputs, after, losses) if return_losses else (outputs, after)

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """Kernels, biases, gamma and beta in network order; none unless `trainable`."""
        return list(self.network_layer.trainable_weights) if self.trainable else []

    @property
    def non_trainable_variables(self) -> list[keras.Variable]:
        """All others: the moving averages, and the state of the dropout's random numbers."""
        trainable = {id(variable) for variable in self.trainable_variables}
        return [v for v in self.network_layer.variables if id(v) not in trainable]

    @property
    def regularization_losses(self) -> list[Callable[[], Any]]:
        """To be called, each, and added to the loss; none unless `trainable`."""
        return regularization_losses(self.trainable_variables)

    @property
    def variable_map(self) -> Mapping[str, keras.Variable]:
        """Variables by their TF-Slim name."""
        return variables_by_name(self.network_layer)

    def __repr__(self) -> str:
        """The handle, and what is trained."""
        tags = sorted(self.tags)
        return f"<hub.Module {self.info.handle} trainable={self.trainable} tags={tags}>"

    @property
    def _signatures(self) -> Signatures:
        return Signatures(self.info, self.network_layer.network)
