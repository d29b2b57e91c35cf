"""`KerasLayer` for `tf_keras`, that is Keras 2, on which `tensorflow_hub` is built.

With `TF_USE_LEGACY_KERAS=1`, `tf.keras` is `tf_keras`, and `hub.KerasLayer` is this layer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from os import PathLike, fspath
from typing import Any

import tensorflow as tf
import tf_keras

from mobilenet_hub.catalog import ModuleInfo
from mobilenet_hub.errors import KerasLayerError
from mobilenet_hub.signatures import (
    ExportsWeights,
    LayerCall,
    check_handle,
    network_config,
    resolve_config,
)
from mobilenet_hub.tensorflow.loaded import LoadedModule
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.readers.keras.loading import order_in_file
from mobilenet_hub.weights.resolve import Spec, WeightsLike, resolve

_IN_KERAS_3 = (
    "this hub.KerasLayer is for tf_keras (Keras 2), and the model is of Keras 3: use "
    "mobilenet_hub.keras.KerasLayer, or build the model of tf_keras."
)


@tf_keras.saving.register_keras_serializable(package="mobilenet_hub")
class KerasLayer(ExportsWeights, tf_keras.layers.Layer):
    """A module, or any callable with variables, as a layer of a `tf_keras` model.

    ```python
    model = tf_keras.Sequential([
        mobilenet_hub.tensorflow.KerasLayer(handle, trainable=True, input_shape=(224, 224, 3)),
        tf_keras.layers.Dense(num_classes),
    ])
    ```

    With `trainable=True`, training uses batch statistics, updates the moving averages and adds the
    regularization losses; with `trainable=False` nothing of that happens, and batch norm stays in
    inference mode whatever Keras's `training` says. Weights are saved and loaded under
    `tensorflow_hub`'s names, so that its files load here, and these there.

    Args:
        handle: of a module, or the path of weights; or what `hub.load` returned; or a callable
            that may have `variables`, `trainable_variables` and `regularization_losses` (each
            without arguments), as a `tf.saved_model.load` has them.
        trainable: see above; may be set later.
        arguments: further keyword arguments of each call, such as `batch_norm_momentum`.
        _sentinel: keeps the rest from being passed by position.
        tags: none, `{"serve"}` or `{"train"}`: one layer is all of these.
        signature: by name, for a dict of outputs; needs one of the next two. Modules in the TF1
            format (version 3 and before) have `default` here.
        signature_outputs_as_dict: whether to return that dict.
        output_key: which of its entries to return.
        output_shape: of the output without the batch; sets it where it is not known.
        load_options: kept for compatibility; there is nothing to set.
        weights: to begin with, as in `hub.Module`; the published ones by default.
        **kwargs: of `tf_keras.layers.Layer`: `name`, `dtype`, `input_shape`.

    Raises:
        UnknownHandleError, MissingWeightsError, WeightsError: as `hub.Module`.
        KerasLayerError: arguments that contradict each other or the module.
    """

    def __init__(
        self,
        handle: Spec | LoadedModule | Callable[..., Any],
        trainable: bool = False,
        arguments: Mapping[str, Any] | None = None,
        _sentinel: None = None,
        tags: Collection[str] | None = None,
        signature: str | None = None,
        signature_outputs_as_dict: bool | None = None,
        output_key: str | None = None,
        output_shape: Any = None,
        load_options: Any = None,
        *,
        weights: WeightsLike = None,
        **kwargs: Any,
    ) -> None:
        if _sentinel is not None:
            raise TypeError(f"pass tags and what follows by keyword. Received: {_sentinel!r}")
        check_handle(handle, tags, load_options)
        order = kwargs.pop("_order", ())
        super().__init__(trainable=trainable, **kwargs)
        module = handle if callable(handle) else _loaded(handle, weights, _image_shape(kwargs))
        # Past Keras's tracking: the variables are weights of this layer, under their own names.
        self.__dict__["_module"] = module
        self._handle = fspath(handle) if isinstance(handle, PathLike) else handle
        self._calls = LayerCall.of(
            module, signature, signature_outputs_as_dict, output_key, arguments
        )
        self.__dict__["_output_shape"] = output_shape
        self._adopt_variables(order)
        for loss in getattr(module, "regularization_losses", ()):
            if not callable(loss):
                raise KerasLayerError(
                    "hub.KerasLayer(obj) expects obj.regularization_losses to be an iterable of "
                    f"callables, each returning a scalar loss term. Received: {loss!r}"
                )
            self.add_loss(self._if_trainable(loss))

    @property
    def _keras_history(self) -> Any:
        """Where both versions of Keras look first when a layer is added to a `Sequential`."""
        if sys._getframe(1).f_globals.get("__name__", "").startswith("keras."):
            raise KerasLayerError(f"{_IN_KERAS_3} Received: a keras.Sequential")
        raise AttributeError("_keras_history")

    def call(self, inputs: Any, training: Any = None) -> Any:
        """Compute the module.

        Args:
            inputs: images [batch, height, width, 3], float in [0,1] or uint8 in [0,255]; or, of a
                signature, a dict with them as `images` and further inputs.
            training: as Keras has it.

        Returns:
            Features, logits, or a dict of them as `default` and of endpoints.
        """
        if not self._calls.takes_training:
            result = self._calls(inputs)
        else:
            if not self.trainable:
                training = False
            elif training is None:
                training = tf_keras.backend.learning_phase()
            result = tf.__internal__.smart_cond.smart_cond(
                training,
                lambda: self._calls(inputs, training=True),
                lambda: self._calls(inputs, training=False),
            )
        if self._output_shape is not None:
            batch = tf.nest.flatten(inputs)[0].shape[:1]
            result = _map_shapes(
                self._output_shape,
                lambda shape, output: tf.ensure_shape(output, batch.concatenate(shape)),
                result,
            )
        return result

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Apply the layer."""
        for value in tf.nest.flatten(inputs):
            if type(value).__module__.startswith("keras."):
                raise KerasLayerError(f"{_IN_KERAS_3} Received: {value!r}")
        return super().__call__(inputs, *args, **kwargs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Of images of a shape, with the batch."""
        if self._output_shape is None:
            return super().compute_output_shape(input_shape)
        batch = tf.TensorShape(tf.nest.flatten(input_shape)[:1])
        return _map_shapes(self._output_shape, batch.concatenate)

    @property
    def resolved_object(self) -> Any:
        """What is called: of a handle, what `hub.load` would give, with this layer's variables."""
        return self._module

    def current_weights(self) -> Weights:
        """The weights as they are now, in canonical form.

        Raises:
            WeightsError: values that are not finite: the training went wrong.
        """
        weights: Weights = self._module.current_weights()
        return weights

    @property
    def info(self) -> ModuleInfo:
        """The module."""
        info: ModuleInfo = self._module.info
        return info

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer; its weights are not in it.

        Raises:
            NotImplementedError: it was made of an object, which no file can hold.
        """
        if not isinstance(self._handle, str):
            raise NotImplementedError(
                "Can only generate a valid config for `hub.KerasLayer(handle, ...)` that uses a "
                f"string `handle`. Received: type(handle) {type(self._handle)}"
            )
        shape = self._output_shape
        own = {"handle": self._handle, "output_shape": shape and _map_shapes(shape, list)}
        if isinstance(self._module, LoadedModule):
            own |= network_config(self._handle, self.info, self._module.network)
        own |= self._calls.get_config()
        return super().get_config() | {key: value for key, value in own.items() if value}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> KerasLayer:
        """The layer of a config, also of one that `tensorflow_hub` wrote.

        The weights are the published ones if they are on this machine; else they are NaN until the
        file that is being loaded brings them.
        """
        options = dict(config)
        handle = options["handle"]
        info, net, weights = resolve_config(options)
        names = net.variables(logits=info.task == "classification")
        order = order_in_file(options.get("name", ""), names)
        module = LoadedModule(info, net, weights, _image_shape(options))
        layer = cls(module, _order=order, **options)
        layer._handle = handle
        return layer

    def _if_trainable(self, loss: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: loss() if self.trainable else 0.0

    def _adopt_variables(self, order: tuple[str, ...]) -> None:
        """Make the module's variables weights of this layer, under their names as keys of files."""
        trainable = list(getattr(self._module, "trainable_variables", ()))
        others = [
            variable
            for variable in getattr(self._module, "variables", ())
            if not any(variable is other for other in trainable)
        ]
        position = {name: index for index, name in enumerate(order)}
        for variables, is_trainable in ((trainable, True), (others, False)):
            for variable in sorted(variables, key=lambda v: position.get(_canonical(v), 0)):
                self.add_weight(
                    name=variable.name,
                    shape=variable.shape,
                    dtype=variable.dtype,
                    trainable=is_trainable,
                    experimental_autocast=False,
                    getter=lambda *_, variable=variable, **__: variable,
                )


def _loaded(
    handle: Spec, weights: WeightsLike, image_shape: tuple[int | None, ...] | None
) -> LoadedModule:
    resolved = resolve(handle, weights)
    return LoadedModule(resolved.info, resolved.weights.network, resolved.weights, image_shape)


def _image_shape(kwargs: Mapping[str, Any]) -> tuple[int | None, ...] | None:
    """The shape of one image, where a layer's arguments say it in one of Keras's ways."""
    shape = kwargs.get("input_shape") or (kwargs.get("batch_input_shape") or ())[1:]
    return tuple(shape) if len(shape) == 3 else None


def _canonical(variable: Any) -> str:
    name: str = variable.name
    return name.partition(":")[0]


def _map_shapes(shapes: Any, function: Callable[..., Any], *more: Any) -> Any:
    """Apply a function to a shape, or to each in a dict of them."""
    if isinstance(shapes, Mapping):
        return {
            key: _map_shapes(shape, function, *(other[key] for other in more))
            for key, shape in shapes.items()
        }
    return function([shapes] if isinstance(shapes, int) else list(shapes), *more)
