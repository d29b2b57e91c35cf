"""`hub.KerasLayer`: a module as a Keras layer, as `tensorflow_hub` had it, for Keras 3."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras

from mobilenet_hub.catalog import ModuleInfo, find
from mobilenet_hub.errors import KerasLayerError, UnknownHandleError
from mobilenet_hub.keras.arguments import check_output_shape, checked_arguments
from mobilenet_hub.keras.canonical import share_variables, variables_by_name
from mobilenet_hub.keras.inputs import check_images
from mobilenet_hub.keras.model import as_input_shape
from mobilenet_hub.keras.naming import HubLayer
from mobilenet_hub.keras.network import InTraining, NetworkLayer
from mobilenet_hub.keras.reusable import Reusable
from mobilenet_hub.networks import INPUT_RANGE, NUM_CLASSES, WEIGHT_DECAY, network
from mobilenet_hub.signatures import Signatures, checked_tags, split_inputs
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.classifier import CARRIED
from mobilenet_hub.weights.random_weights import random_weights
from mobilenet_hub.weights.readers.keras.loading import order_in_file
from mobilenet_hub.weights.resolve import Spec, WeightsLike, resolve
from mobilenet_hub.weights.storage.store import is_here, load_weights

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
            are trainable).
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
        handle: Spec | Reusable,
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
        wanted_tags = checked_tags(tags, "serve")
        self._given = handle if isinstance(handle, Reusable) else None
        variables = getattr(handle, "tensorflow_variables", None)
        if weight_decay is not None and (self._given is not None or variables is not None):
            raise KerasLayerError(
                "weight_decay is that of the loaded object, which has its variables already. "
                f"Received: weight_decay={weight_decay!r}"
            )
        if self._given is not None:
            self.network_layer = self._given.network_layer
        elif isinstance(variables, Mapping):
            loaded: Any = handle
            self._given = loaded
            self.network_layer = NetworkLayer(loaded.info, None, network=loaded.network)
            share_variables(self.network_layer, variables)
        else:
            found = resolve(handle, weights)
            self.network_layer = NetworkLayer(
                found.info,
                found.weights,
                weight_decay=WEIGHT_DECAY if weight_decay is None else weight_decay,
                dtype=kwargs.get("dtype"),
            )
        self.info = self.network_layer.info
        self._handle = handle if _names(handle, self.info) else self.info.handle
        self._order: Mapping[str, int] = {}
        self._signatures = Signatures(self.info, self.network_layer.network)
        self._image_shape = shape
        self._given_tags = None if tags is None else sorted(wanted_tags)
        self._random = isinstance(weights, str) and weights == "random"
        self._arguments = checked_arguments(arguments, self.info)
        self._set_outputs(signature, signature_outputs_as_dict, output_key)
        self._output_shape = output_shape
        self.network_layer.trainable = trainable  # Keras tells it of later changes only
        self.built = not self.network_layer.is_unset

    def _set_outputs(
        self, signature: str | None, as_dict: bool | None, output_key: str | None
    ) -> None:
        """The rules of `tensorflow_hub.KerasLayer` about signatures, in its words."""
        if self.info.module_format == "hub":
            signature = signature or "default"
            output_key = output_key or (None if as_dict else "default")
        self._signatures.task(signature)  # or: unknown signature
        if signature and (output_key is not None) == bool(as_dict):
            raise KerasLayerError(
                "When using a signature, either output_key or signature_outputs_as_dict=True "
                f"should be set. Received: signature={signature!r}, output_key={output_key!r}, "
                f"signature_outputs_as_dict={as_dict!r}"
            )
        if as_dict and not signature:
            raise KerasLayerError(
                "signature_outputs_as_dict is only valid if specifying a signature (or using a "
                f"legacy TF1 Hub format). Received: signature=None for {self.info.handle}"
            )
        returns_dict = bool(signature) or self._arguments.get("return_endpoints", False)
        if output_key is not None and not returns_dict:
            raise KerasLayerError(
                "Specifying `output_key` is forbidden if output type is not a dict: give a "
                "signature, or arguments=dict(return_endpoints=True). "
                f"Received: output_key={output_key!r}"
            )
        if output_key not in (None, "default") and output_key not in (
            available := list(self._signatures.outputs(signature))
        ):
            raise KerasLayerError(
                f"KerasLayer output does not contain the output key {output_key} "
                f"(available: {available}). Received: {output_key!r}"
            )
        self._signature, self._as_dict, self._output_key = signature, as_dict, output_key
        self._computes_dict = returns_dict and output_key != "default"

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Apply the layer; what does not fit is said before Keras adds to it."""
        if type(inputs).__module__.startswith("tf_keras."):
            raise KerasLayerError(f"{_IN_TF_KERAS} Received: {inputs!r}")
        images, _ = self._signatures.unpack(inputs, self._signature)
        check_images(images, self.info, self._image_shape)
        outputs = super().__call__(inputs, *args, **kwargs)
        if self._output_shape is not None:
            check_output_shape(self._output_shape, outputs, self.info)
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
        images, momentum = split_inputs(inputs)  # `__call__` has checked them
        outputs = self.network_layer(
            images,
            training=bool(training and self.trainable),
            momentum=self._arguments.get("batch_norm_momentum") if momentum is None else momentum,
            task=self._signatures.task(self._signature),
            as_dict=self._computes_dict,
        )
        if self._computes_dict and self._output_key is not None:
            return outputs[self._output_key]
        return outputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Of images of a shape, with the batch: what layers around this one ask for."""
        outputs = self.compute_output_spec(keras.KerasTensor(input_shape, "float32"))
        return keras.tree.map_structure(lambda output: output.shape, outputs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Shapes and dtypes of the outputs, as `call` has them."""
        return keras.Operation.compute_output_spec(self, *args, **kwargs)

    @property
    def computes(self) -> str | None:
        """`feature_vector` or `classification`; None where its output is an endpoint, or a dict."""
        if self._computes_dict and self._output_key != "default":
            return None
        return self._signatures.task(self._signature)

    @property
    def resolved_object(self) -> Reusable:
        """What `hub.load` would give, with this layer's variables."""
        return self._given or Reusable(self.network_layer)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer; its weights are not in it."""
        net, metadata = self.network_layer.network, self.network_layer.metadata
        own = {
            "handle": self._handle,
            "num_classes": net.num_classes,
            "arguments": _plain(self._arguments),
            "tags": _plain(self._given_tags),
            "signature": self._signature,
            "signature_outputs_as_dict": self._as_dict,
            "output_key": self._output_key,
            "output_shape": _plain(self._output_shape),
            "input_shape": self._image_shape,
            "weights": "random" if self._random else None,
            "weight_decay": self.network_layer.weight_decay,
            "hidden_units": net.hidden and net.hidden.out_channels,
            "input_range": net.input_range,
            "classifier": {key: text for key, text in metadata.items() if key in CARRIED},
            "frozen": self.network_layer.frozen() if self.trainable else [],
        }
        return super().get_config() | own

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> KerasLayer:
        """The layer of a config, with the published weights if they are on this machine.

        Where they are not, the weights are unset: a file that is being loaded brings them.
        """
        options = {key: value for key, value in config.items() if key != "requires"}
        handle = options.pop("handle")
        info = find(handle)
        net = network(
            info.family,
            info.depth_multiplier,
            options.pop("num_classes", NUM_CLASSES),
            hidden_units=options.pop("hidden_units", None),
            input_range=tuple(options.pop("input_range", INPUT_RANGE)),
        )
        weights: Weights | None = None
        if options.get("weights") == "random":
            weights = random_weights(net, logits=info.task == "classification")
        elif net == info.network and is_here(info):
            weights = load_weights(info)
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
        layer._handle = handle
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
    """Containers as they were given: Keras puts its own in their place, which cannot be copied."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list) else value


def _names(handle: Any, info: ModuleInfo) -> bool:
    """Whether this is a handle of the module, and no path or object."""
    try:
        return isinstance(handle, str) and find(handle) == info
    except UnknownHandleError:
        return False
