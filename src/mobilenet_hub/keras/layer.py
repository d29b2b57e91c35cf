"""`hub.KerasLayer`: a module as a Keras layer, as `tensorflow_hub` had it, for Keras 3."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from os import PathLike, fspath
from typing import Any

import keras

from mobilenet_hub.errors import KerasLayerError
from mobilenet_hub.keras.canonical import share_variables, variables_by_name, wrapped_variables
from mobilenet_hub.keras.inputs import check_tensor
from mobilenet_hub.keras.model import as_input_shape
from mobilenet_hub.keras.naming import HubLayer
from mobilenet_hub.keras.network import InTraining, NetworkLayer
from mobilenet_hub.keras.reusable import Reusable
from mobilenet_hub.networks import WEIGHT_DECAY
from mobilenet_hub.signatures import (
    BaseLoaded,
    LayerCall,
    Shape,
    check_handle,
    check_output_shape,
    network_config,
    resolve_config,
)
from mobilenet_hub.weights.canonical import carried
from mobilenet_hub.weights.random_weights import random_weights
from mobilenet_hub.weights.readers.keras.loading import order_in_file
from mobilenet_hub.weights.resolve import Spec, Trained, WeightsLike, resolve

_IN_TF_KERAS = (
    "this hub.KerasLayer is for Keras 3, and the model is of tf_keras (Keras 2): use "
    "mobilenet_hub.tensorflow.KerasLayer, or set TF_USE_LEGACY_KERAS=1 before TensorFlow is "
    "imported."
)


@keras.saving.register_keras_serializable(package="mobilenet_hub")
class KerasLayer(InTraining, HubLayer):
    """A module as a layer of a Keras model.

    ```python
    m = keras.Sequential([
        hub.KerasLayer("https://tfhub.dev/google/tf2-preview/mobilenet_v2/feature_vector/2",
                       output_shape=[1280], trainable=True),
        keras.layers.Dense(num_classes, activation="softmax"),
    ])
    m.build([None, 224, 224, 3])
    ```

    With `trainable=True`, training uses batch statistics, updates the moving averages and adds the
    regularization losses (and a classifier drops features); with `trainable=False` nothing of that
    happens, and batch norm stays in inference mode whatever Keras's `training` says. A `.keras`
    file of a model holds the weights; to load it, `import mobilenet_hub.keras` first; the published
    weights are not needed.

    Keras casts what a model is given to the dtype of the model's `Input`, float by default, where
    [0,255] is no longer told from [0,1]: for images in uint8, begin the model with
    `keras.Input((height, width, 3), dtype="uint8")`. Floats above 8 are refused in eager calls and
    in TensorFlow's graphs; a function that JAX (or XLA) has compiled cannot refuse them.

    On torch, the layer is a `torch.nn.Module` like all of Keras's: its variables are among the
    parameters, and in the `state_dict`, of the module that it is put into. As for all of Keras's
    layers, `train()` and `eval()` do not reach it; say `layer(images, training=self.training)`.

    Args:
        handle: of a module, or the path of a file, folder or archive with weights; or what
            `hub.load` returned, to share its variables (and, of a `keras.Reusable`, whether they
            are trainable); or any callable, which may have `variables`, `trainable_variables` and
            `regularization_losses`, as TensorFlow's reusable SavedModels have.
        trainable: see above; may be set later.
        arguments: of each call: `batch_norm_momentum` (from version 3 on), `return_endpoints`.
        _sentinel: keeps the rest from being passed by position, as in `tensorflow_hub`.
        tags: none, `{"serve"}` or `{"train"}`: one layer is all of these, and `training` decides.
        signature: by name, for a dict of outputs; needs one of the next two. Modules in the TF1
            format (version 3 and before) have `default` here, as in `tensorflow_hub`.
        signature_outputs_as_dict: whether to return that dict.
        output_key: which of its entries to return.
        output_shape: of the output without the batch, checked where it is given.
        load_options: kept for compatibility; there is nothing to set.
        weights: to begin with, as in `hub.Module`; the published ones by default.
        weight_decay: of the regularization losses (every convolution but the depthwise ones); 0 for
            none; TF-Slim's 0.00004 by default.
        input_shape: of one image, (height, width, 3): makes other sizes than the module's own
            possible; Keras's `Sequential` builds itself with it.
        **kwargs: of `keras.layers.Layer`: `name`, `dtype`.

    Raises:
        UnknownHandleError, MissingWeightsError, WeightsError: as `hub.Module`.
        KerasLayerError, SignatureError, TagsError, InputError: arguments that contradict each
            other or the module.

    Attributes:
        info: the module.
        network_layer: the Keras layer that computes it.
    """

    def __init__(
        self,
        handle: Spec | Callable[..., Any],
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
        weight_decay: float | None = None,
        input_shape: Sequence[int | None] | None = None,
        **kwargs: Any,
    ) -> None:
        if _sentinel is not None:
            raise TypeError(f"pass tags and what follows by keyword. Received: {_sentinel!r}")
        shape = None if input_shape is None else as_input_shape(input_shape, "channels_last")
        with warnings.catch_warnings():  # Keras would rather have an Input; here, both will do
            warnings.filterwarnings("ignore", message="Do not pass an `input_shape`")
            more = {} if shape is None else {"input_shape": shape}
            super().__init__(trainable=trainable, autocast=False, **more, **kwargs)
        check_handle(handle, tags, load_options)
        if callable(handle) and weight_decay is not None:
            raise KerasLayerError(
                "weight_decay is that of the loaded object, which has its variables already. "
                f"Received: weight_decay={weight_decay!r}"
            )
        self._handle = fspath(handle) if isinstance(handle, PathLike) else handle
        self._image_shape = shape
        self._given_tags = None if tags is None else sorted(tags)
        self._random = isinstance(weights, str) and weights == "random"
        self._output_shape = _plain(output_shape)
        self._order: Mapping[str, int] = {}
        self._resolved = self._module = handle
        network_layer = _network_layer(handle, weights, weight_decay, kwargs.get("dtype"))
        if network_layer is None:
            for variable in wrapped_variables(handle):
                self._track_variable(variable)
            self.built = True
        else:
            self._module = Reusable(network_layer, shape)
            self._resolved = handle if isinstance(handle, BaseLoaded) else self._module
            self.network_layer, self.info = network_layer, network_layer.info
            network_layer.trainable = trainable  # Keras tells it of later changes only
            self.built = not network_layer.is_unset
        self._calls = LayerCall.of(
            self._module, signature, signature_outputs_as_dict, output_key, arguments
        )

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Apply the layer; what does not fit is said before Keras adds to it."""
        if type(inputs).__module__.startswith("tf_keras."):
            raise KerasLayerError(f"{_IN_TF_KERAS} Received: {inputs!r}")
        if isinstance(self._module, Reusable):
            images, signature = inputs, self._calls.signature
            if signature is not None or isinstance(inputs, Mapping | None):
                images, _ = self._module.unpack(inputs, signature)
            check_tensor(images, self.info, self._image_shape)
        outputs = super().__call__(inputs, *args, **kwargs)
        if self._output_shape is not None:
            check_output_shape(self._output_shape, outputs, self.name)
        return outputs

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Compute the module.

        Args:
            inputs: images [batch, height, width, 3], float in [0,1] or uint8 in [0,255]; or a dict
                with them as `images` and, for signatures that have it, `batch_norm_momentum`.
            training: as Keras has it.

        Returns:
            Features, logits, or a dict of them as `default` and of endpoints.
        """
        if not isinstance(self._module, Reusable) and self.trainable:
            for loss in getattr(self._module, "regularization_losses", ()):
                self.add_loss(loss())
        how = {"training": bool(training and self.trainable)} if self._calls.takes_training else {}
        return self._calls(inputs, **how)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Of images of a shape, with the batch: what layers around this one ask for."""
        if isinstance(self._output_shape, int | list | tuple):
            size = self._output_shape
            return Shape((input_shape[0], *([size] if isinstance(size, int) else size)))
        outputs = self.compute_output_spec(keras.KerasTensor(input_shape, "float32"))
        return keras.tree.map_structure(lambda output: Shape(output.shape), outputs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Shapes and dtypes of the outputs, as `call` has them."""
        return keras.Operation.compute_output_spec(self, *args, **kwargs)

    @property
    def computes(self) -> str | None:
        """`feature_vector` or `classification`; None where its output is an endpoint, or a dict."""
        calls = self._calls
        is_dict = calls.signature or calls.arguments.get("return_endpoints")
        if is_dict and calls.output_key not in ("default", "logits", "feature_vector"):
            return None
        return self._module.task(calls.signature) if isinstance(self._module, Reusable) else None

    @property
    def resolved_object(self) -> Any:
        """What is called: of a handle, what `hub.load` would give, with this layer's variables."""
        return self._resolved

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer; its weights are not in it.

        Raises:
            NotImplementedError: it was made of a callable, which no file can hold.
            KerasLayerError: of arguments that no file can hold.
        """
        if not isinstance(self._module, Reusable):
            raise NotImplementedError(
                "Can only generate a valid config for `hub.KerasLayer(handle, ...)` that uses a "
                f"string `handle`. Received: type(handle) {type(self._handle)}"
            )
        handle = self._handle if isinstance(self._handle, str) else self.info.handle
        own = {
            "handle": handle,
            **network_config(handle, self.info, self.network_layer.network),
            "tags": _plain(self._given_tags),
            "output_shape": _plain(self._output_shape),
            "input_shape": self._image_shape,
            "weights": "random" if self._random else None,
            "weight_decay": self.network_layer.weight_decay,
            "classifier": carried(self.network_layer.metadata),
            "frozen": self.network_layer.frozen() if self.trainable else [],
        }
        return super().get_config() | own | self._calls.get_config()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> KerasLayer:
        """The layer of a config, with the published weights if they are on this machine.

        Where they are not, the weights are unset: a file that is being loaded brings them.
        """
        options = {key: value for key, value in config.items() if key != "requires"}
        handle, tags = options["handle"], options.pop("tags", None)
        info, net, weights = resolve_config(options)
        if options.get("weights") == "random":
            weights = random_weights(net, logits=info.task == "classification")
        shape = options.pop("batch_input_shape", None) or options.get("input_shape")
        options["input_shape"] = shape and shape[-3:]  # Keras 2's has the batch, under either name
        options["dtype"] = keras.dtype_policies.get(options.get("dtype"))
        network_layer = NetworkLayer(
            info,
            weights,
            network=net,
            weight_decay=options.pop("weight_decay", WEIGHT_DECAY),
            dtype=options["dtype"],
        )
        if labels := options.pop("labels", None):  # as older files had them
            network_layer.metadata["labels"] = labels
        network_layer.metadata |= options.pop("classifier", {})
        frozen = options.pop("frozen", ())
        order = order_in_file(options.get("name", ""), variables_by_name(network_layer))
        network_layer.is_unset = weights is None and not order
        layer = cls(Reusable(network_layer), **options)
        network_layer.freeze(frozen)
        layer._handle, layer._given_tags = handle, tags
        layer._order = {name: index for index, name in enumerate(order)}
        return layer

    @property
    def trainable_weights(self) -> list[keras.Variable]:
        """Of a layer that an `.h5` file is loaded into, in the order of that file."""
        return self._in_order_of_file(super().trainable_weights)

    @property
    def non_trainable_weights(self) -> list[keras.Variable]:
        """Of a layer that an `.h5` file is loaded into, in the order of that file."""
        return self._in_order_of_file(super().non_trainable_weights)

    def _in_order_of_file(self, weights: list[keras.Variable]) -> list[keras.Variable]:
        return sorted(weights, key=lambda weight: self._order.get(weight.path, 0))

    @property
    def _keras_history(self) -> Any:
        """Where both versions of Keras look first when a layer is added to a `Sequential`."""
        if sys._getframe(1).f_globals.get("__name__", "").startswith("tf_keras."):
            raise KerasLayerError(f"{_IN_TF_KERAS} Received: a tf_keras.Sequential")
        raise AttributeError("_keras_history")

    def get_build_config(self) -> dict[str, Any]:
        """Says to Keras that a file with the weights follows."""
        return {"weights": "follow"}

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        """The weights follow: nothing is missing."""
        self.built = True

    def build(self, input_shape: Any = None) -> None:
        """Warns of weights that nobody brought; there is nothing else to do.

        Keras comes here only if the layer was made from a config and no file followed.
        """
        warnings.warn(
            f"{self.name} was made from its configuration alone, and the weights of "
            f"{self.info.handle} are not on this machine: its kernels are NaN until they are set "
            "(set_weights, load_weights).",
            stacklevel=2,
        )


def _plain(value: Any) -> Any:
    """Containers as they were given: Keras puts its own in their place, which cannot be copied.

    TensorFlow's shapes are lists.
    """
    value = value.as_list() if hasattr(value, "as_list") else value
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list) else value


def _network_layer(
    handle: Any, weights: WeightsLike, weight_decay: float | None, dtype: Any
) -> NetworkLayer | None:
    """The Keras layer of a module, with the variables that there are; None of other callables."""
    if isinstance(handle, Reusable):
        return handle.network_layer
    variables = getattr(handle, "tensorflow_variables", None)
    if isinstance(variables, Mapping):  # of `hub.load` on TensorFlow
        shared = NetworkLayer(handle.info, None, network=handle.network)
        share_variables(shared, variables)
        return shared
    if callable(handle) and not isinstance(handle, Trained):
        return None
    found = resolve(handle, weights)
    decay = WEIGHT_DECAY if weight_decay is None else weight_decay
    return NetworkLayer(found.info, found.weights, weight_decay=decay, dtype=dtype)
