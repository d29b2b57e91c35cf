"""`hub.load` on TensorFlow: a module as a `tf.Module`, with the interface of a SavedModel to reuse.

That is (https://www.tensorflow.org/hub/reusable_saved_models): callable, with `variables`,
`trainable_variables` and `regularization_losses`. It is tracked by checkpoints, by other modules,
and saved by `tf.saved_model.save`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Set
from functools import partial
from inspect import Parameter, Signature
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf

from mobilenet_hub.catalog import ModuleInfo, Task
from mobilenet_hub.networks import Network
from mobilenet_hub.signatures import BaseLoaded, checked_momentum, checked_tags
from mobilenet_hub.tensorflow.inputs import unit_images
from mobilenet_hub.tensorflow.network import MobileNet, l2_loss, made_outside
from mobilenet_hub.weights.canonical import Weights, from_tensors, once_trained
from mobilenet_hub.weights.resolve import Spec, WeightsLike, resolve


class LoadedModule(BaseLoaded, tf.Module):
    """A module to call, train, track and save; `load` makes it.

    ```python
    module = hub.load("https://tfhub.dev/google/tf2-preview/mobilenet_v2/feature_vector/4")
    features = module(images, training=True, batch_norm_momentum=0.997)
    ```

    Args:
        info: the module.
        network: its network.
        weights: to begin with; None leaves the variables NaN, for a file to bring.
        image_shape: of one image, (height, width, 3), in place of the module's own.

    Attributes:
        info: the module.
        network: its network.
    """

    autograph_info__: Mapping[str, Any] = MappingProxyType({})  # AutoGraph: call it as it is
    _saved: dict[str, Any]
    _concrete: Mapping[str, Any]

    def __init__(
        self,
        info: ModuleInfo,
        network: Network,
        weights: Weights | None,
        image_shape: tuple[int | None, ...] | None = None,
    ) -> None:
        super().__init__()
        self.info = info
        self.network = network
        self._image_shape = image_shape
        self._origin = weights
        self._network = made_outside(
            lambda: MobileNet(
                network,
                None if weights is None else weights.tensors,
                logits=info.task == "classification",
            )
        )
        self._last = _only(weights, self._network.by_name.keys())
        self.__dict__["_saved"] = {}  # past tf.Module's tracking
        self.__dict__["_concrete"] = _Concrete(self)
        self._traced = tf.function(self._compute, autograph=False, reduce_retracing=True)

    @property
    def variables(self) -> list[Any]:
        """All, in network order, named as TF-Slim's."""
        return list(self._network.by_name.values())

    @property
    def trainable_variables(self) -> list[Any]:
        """Kernels, biases, gamma and beta, in network order."""
        return [variable for variable in self.variables if variable.trainable]

    @property
    def tensorflow_variables(self) -> Mapping[str, Any]:
        """The variables by TF-Slim name: what a layer of Keras 3 shares."""
        return MappingProxyType(dict(self._network.by_name))

    @property
    def regularization_losses(self) -> list[Callable[[], Any]]:
        """To be called, each, and added to the loss: one for every regularized kernel."""
        return [partial(l2_loss, kernel) for kernel in self._network.regularized.values()]

    @property
    def signatures(self) -> Mapping[str, Callable[..., dict[str, Any]]]:
        """The signatures as concrete functions of TensorFlow, each traced when first asked for.

        Each takes float32 tensors by name and gives a dict of tensors; converters take it too.
        """
        return self._concrete

    def current_weights(self) -> Weights:
        """The weights as they are now, in canonical form; the same object while they stay.

        Raises:
            WeightsError: values that are not finite: the training went wrong.
        """
        values = {name: variable.numpy() for name, variable in self.tensorflow_variables.items()}
        last = self._last
        if last is None or any(not np.array_equal(v, last.tensors[n]) for n, v in values.items()):
            metadata = once_trained(self.info.handle, self._origin)
            last = from_tensors(values, metadata=metadata, where=repr(self), expected=self.network)
            self._last = last
        return last

    def __repr__(self) -> str:
        """The handle."""
        return f"<hub.load {self.info.handle} on tensorflow>"

    def _call(self, images: Any, task: Task, training: bool, momentum: Any, as_dict: bool) -> Any:
        images = unit_images(images, self.info, self._image_shape)
        if momentum is None:
            momentum = self.info.batch_norm_momentum
        momentum = tf.cast(checked_momentum(momentum), tf.float32)
        return self._traced(images, task, bool(training), momentum, as_dict)

    def _compute(
        self, images: Any, task: Task, training: bool, momentum: Any, as_dict: bool
    ) -> Any:
        applied = self._network.apply(
            images, logits=task == "classification", training=training, momentum=momentum
        )
        outputs = applied.outputs(task)
        return outputs if as_dict else outputs["default"]

    def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> dict[str, Any]:
        """What checkpoints and `tf.saved_model.save` take: the second, functions too.

        A SavedModel holds what has been traced; these are the calls that it will answer.
        """
        children: dict[str, Any] = super()._trackable_children(save_type, **kwargs)
        children.pop("_traced", None)
        if save_type != "savedmodel":
            return children
        if not self._saved:
            losses = [tf.function(loss) for loss in self.regularization_losses]
            for loss in losses:
                loss.get_concrete_function()
            wrap = tf.__internal__.tracking.wrap
            self._saved["__call__"] = self._saved_call()
            self._saved["variables"] = wrap(self.variables)
            self._saved["trainable_variables"] = wrap(self.trainable_variables)
            self._saved["regularization_losses"] = wrap(losses)
        return children | self._saved

    def input_specs(self, signature: str) -> dict[str, Any]:
        """The inputs of a signature as `tf.TensorSpec`s, by name."""
        own = self._image_shape
        return {
            name: tf.TensorSpec((None, *own) if own and info.shape else info.shape, name=name)
            for name, info in self.signature_inputs(signature).items()
        }

    def _saved_call(self) -> Any:
        images = self.input_specs("default")["images"]
        momentum = tf.TensorSpec((), tf.float32, "batch_norm_momentum")

        def call(
            images: Any,
            training: bool = False,
            batch_norm_momentum: Any = None,
            return_endpoints: bool = False,
        ) -> Any:
            return self(images, training, batch_norm_momentum, return_endpoints)

        function = tf.function(call, autograph=False)
        for arguments in ((False,), (True,), (True, momentum), (False, None, True)):
            function.get_concrete_function(images, *arguments)
        return function


class _Concrete(Mapping[str, Any]):
    """The signatures of a loaded module as concrete functions, by name."""

    def __init__(self, module: LoadedModule) -> None:
        self._module = module
        self._traced: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._traced:
            specs = self._module.input_specs(name)
            function = self._module.signature(name)

            def call(*args: Any, **inputs: Any) -> dict[str, Any]:
                return function(**dict(zip(specs, args, strict=False)), **inputs)

            parameters = [Parameter(key, Parameter.POSITIONAL_OR_KEYWORD) for key in specs]
            call.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
            traced = tf.function(call, autograph=False)
            self._traced[name] = traced.get_concrete_function(**specs)
        return self._traced[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._module.signature_names)

    def __len__(self) -> int:
        return len(self._module.signature_names)


def _only(weights: Weights | None, names: Set[str]) -> Weights | None:
    """These tensors of weights: without the logits, for a module that has none."""
    if weights is None or names == weights.tensors.keys():
        return weights
    tensors = {name: value for name, value in weights.tensors.items() if name in names}
    return Weights(weights.network, tensors, weights.metadata)


@tf.autograph.experimental.do_not_convert
def load(
    handle: Spec,
    tags: Collection[str] | None = None,
    options: Any = None,
    *,
    weights: WeightsLike = None,
) -> LoadedModule:
    """Load a module as a trackable object, as `tensorflow_hub.load` did.

    Args:
        handle: of a module, or the path of a file, folder or archive with weights in any format
            this library reads.
        tags: none or `{"serve"}`; `{"train"}` too, since the object does both.
        options: kept for compatibility (`tf.saved_model.LoadOptions`); there is nothing to set.
        weights: instead of the published ones, as in `hub.Module`.

    Raises:
        UnknownHandleError, MissingWeightsError, WeightsError: as `hub.Module`.
        TagsError: there is no such graph variant.
    """
    checked_tags(tags, "serve")
    resolved = resolve(handle, weights)
    return LoadedModule(resolved.info, resolved.weights.network, resolved.weights)
