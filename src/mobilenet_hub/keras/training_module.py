"""`hub.Module(handle, trainable=True, tags={"train"})`: the TF1 interface, in training."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any

import keras

from mobilenet_hub.keras.canonical import variables_by_name
from mobilenet_hub.keras.inputs import check_images
from mobilenet_hub.keras.reusable import from_weights
from mobilenet_hub.module import Module
from mobilenet_hub.signatures import Signatures, checked_tags
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.resolve import Spec, WeightsLike, resolve


class TrainingModule(Module):
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
        spec: as for `Module`.
        trainable: see above.
        name: names nothing but the repr.
        tags: none or `{"train"}`.
        weights: as for `Module`.
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
        self._reusable = from_weights(resolved.weights, resolved.info, dtype)
        self._layer = self._reusable.network_layer

    def __call__(
        self,
        inputs: Any,
        _sentinel: None = None,
        signature: str | None = None,
        as_dict: bool | None = None,
        *,
        outputs: Iterable[str] | None = None,
    ) -> Any:
        """Apply a signature to images.

        Args:
            inputs: images [batch, height, width, 3], float in [0,1] or uint8 in [0,255], or a dict
                with `images` and, for the `*_with_bn_hparams` signatures, `batch_norm_momentum`: a
                number or a scalar tensor.
            _sentinel: keeps the rest from being passed by position, as in `tensorflow_hub`.
            signature: `default`, `image_feature_vector`, `image_classification`, ...
            as_dict: whether to return outputs by name.
            outputs: with `as_dict`, which ones; all by default.

        Returns:
            Tensors: [batch, num_features] features or [batch, num_classes] logits; or a dict of
            these as `default` and of endpoints [batch, height, width, channels].

        Raises:
            SignatureError: unknown signature.
            InputError, InputTypeError: images that do not fit.
            OutputError: an unknown output.
        """
        if _sentinel is not None:
            raise TypeError("pass signature and as_dict by keyword")
        images, momentum = self._signatures.unpack(inputs, signature)
        check_images(images, self.info)
        names = self._signatures.select(outputs, signature, as_dict=bool(as_dict))
        computed = self._layer(
            images,
            training="train" in self.tags,
            momentum=momentum,
            update_averages=self.trainable,
            task=self._signatures.task(signature),
            as_dict=bool(as_dict),
        )
        return {name: computed[name] for name in names} if as_dict else computed

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
        return self._reusable.trainable_variables if self.trainable else []

    @property
    def non_trainable_variables(self) -> list[keras.Variable]:
        """All others: the moving averages, and the state of the dropout's random numbers."""
        trainable = {id(variable) for variable in self.trainable_variables}
        return [v for v in self._layer.variables if id(v) not in trainable]

    @property
    def regularization_losses(self) -> list[Callable[[], Any]]:
        """To be called, each, and added to the loss; none unless `trainable`."""
        return self._reusable.regularization_losses if self.trainable else []

    @property
    def variable_map(self) -> Mapping[str, keras.Variable]:
        """Variables by their TF-Slim name."""
        return variables_by_name(self._layer)

    @property
    def weights(self) -> Weights:
        """The weights as they are now, in canonical form."""
        return self.current_weights()

    def current_weights(self) -> Weights:
        """The weights as they are now, in canonical form.

        Raises:
            WeightsError: values that are not finite: the training went wrong.
        """
        return self._reusable.current_weights()

    def export(self, path: str | PathLike[str]) -> str:
        """Write the weights as they are now as canonical safetensors; returns the file's sha256.

        `hub.Module(path)` runs them on the fast runtime.

        Raises:
            WeightsError: values that are not finite: the training went wrong.
            OSError: the file cannot be written.
        """
        return self._reusable.export(path)

    def session(self, *_: Any, **__: Any) -> Any:
        """Sessions are of the fast runtime.

        Raises:
            TypeError: always; says how to get one.
        """
        raise TypeError(
            "A module in training has no inference session: take hub.Module(module).session(). "
            f"Received: {self!r}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Refuse: variables in training have one place."""
        raise TypeError(
            "a module in training cannot be pickled; export(path) writes its weights. "
            f"Received: {self!r}"
        )

    def __repr__(self) -> str:
        """The handle, and what is trained."""
        tags = sorted(self.tags)
        return f"<hub.Module {self.info.handle} trainable={self.trainable} tags={tags}>"

    @property
    def _signatures(self) -> Signatures:
        return Signatures(self.info, self._layer.network)
