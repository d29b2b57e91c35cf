"""What every form of a module shares, on the fast runtime, in training or in a graph.

`BaseModule` is what `hub.Module` gives, `BaseLoaded` what `hub.load` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from types import MappingProxyType
from typing import Any

from mobilenet_hub.catalog import ModuleInfo, Task
from mobilenet_hub.images import Preprocessing
from mobilenet_hub.networks import Network
from mobilenet_hub.signatures.module_signatures import Signatures
from mobilenet_hub.signatures.tensor_info import TensorInfo
from mobilenet_hub.weights.canonical import Weights

# What the published modules of the TF2 format call their one signature, its input and its output.
SERVING_DEFAULT = "serving_default"
_SERVING_INPUT = "inputs"
_SERVING_OUTPUT: Mapping[Task, str] = {
    "classification": "logits",
    "feature_vector": "feature_vector",
}


class BaseModule:
    """What every form of a module keeps, however it computes.

    Attributes:
        info: the module.
        name: kept for compatibility; names nothing but the repr.
    """

    info: ModuleInfo
    name: str

    def __call__(
        self,
        inputs: Any = None,
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
            as_dict: whether to return all outputs by name.
            outputs: with `as_dict`, which outputs to compute (default: all; the endpoints of a
                large batch are large).

        Returns:
            float32 [batch, num_features] features or [batch, num_classes] logits; or a dict of
            these as `default` and every endpoint, float32 [batch, height, width, channels]. NumPy
            arrays in inference; in training, tensors of Keras's backend.

        Raises:
            SignatureError: unknown signature.
            InputError, InputTypeError: images that do not fit.
            OutputError: an unknown output.
        """
        if _sentinel is not None:
            raise TypeError("pass signature and as_dict by keyword")
        known = self._signatures
        task = known.task(signature)
        names = known.select(outputs, signature, as_dict=bool(as_dict))
        images, momentum = known.unpack(inputs, signature)
        computed = self._compute(images, task, names, momentum)
        return computed if as_dict else computed["default"]

    def get_signature_names(self) -> list[str]:
        """Names of the module's signatures."""
        return self._signatures.names

    def get_input_info_dict(self, signature: str | None = None) -> dict[str, TensorInfo]:
        """Describes the inputs of a signature.

        Raises:
            SignatureError: unknown signature.
        """
        return self._signatures.inputs(signature)

    def get_output_info_dict(self, signature: str | None = None) -> dict[str, TensorInfo]:
        """Describes the outputs of a signature: `default`, and the endpoints for `as_dict=True`.

        Raises:
            SignatureError: unknown signature.
        """
        return self._signatures.outputs(signature)

    def current_weights(self) -> Weights:
        """The weights as they are now, in canonical form; the same object while they stay.

        Raises:
            WeightsError: values that are not finite: a training went wrong.
        """
        raise NotImplementedError

    @property
    def weights(self) -> Weights:
        """The weights that the next call computes with."""
        return self.current_weights()

    @property
    def labels(self) -> tuple[str, ...]:
        """What each logit is called: ImageNet's 1001 names, those that came along, or numbers.

        Empty for a module that does not classify.
        """
        return self.current_weights().labels if self.info.task == "classification" else ()

    @property
    def preprocessing(self) -> Preprocessing:
        """How the bytes of an image file become what this module takes.

        As a classifier of somebody's own says, else the plain one of the module's size.
        """
        classifier = self.current_weights().classifier
        if classifier is None or classifier.preprocessing is None:
            return Preprocessing(self.info.image_size, self.info.image_size)
        return Preprocessing(**classifier.preprocessing.to_dict())

    @property
    def variable_map(self) -> Mapping[str, Any]:
        """Variables by their TF-Slim name: float32 arrays in inference, Keras's in training."""
        raise NotImplementedError

    @property
    def variables(self) -> list[Any]:
        """Variables, sorted by name as in `tensorflow_hub`."""
        return [value for _, value in sorted(self.variable_map.items())]

    @property
    def _signatures(self) -> Signatures:
        raise NotImplementedError

    def _compute(
        self, images: Any, task: Task, names: tuple[str, ...], momentum: Any
    ) -> dict[str, Any]:
        """The named outputs of a batch."""
        raise NotImplementedError


class ExportsWeights:
    """What has weights that change, and that can be kept."""

    def current_weights(self) -> Weights:
        """The weights as they are now, in canonical form.

        Raises:
            WeightsError: values that are not finite: the training went wrong.
        """
        raise NotImplementedError

    def export(self, path: str | PathLike[str]) -> str:
        """Write the weights as they are now as canonical safetensors; returns the file's sha256.

        `hub.Module(path)` runs them on the fast runtime.

        Raises:
            WeightsError: values that are not finite: the training went wrong.
            OSError: the file cannot be written.
        """
        return self.current_weights().save(path)


class BaseLoaded(ExportsWeights):
    """What every form of `hub.load`'s object keeps: TensorFlow's "reusable SavedModel" interface.

    Attributes:
        info: the module.
        network: its network, whose number of classes may be the caller's own.
    """

    info: ModuleInfo
    network: Network

    def __call__(
        self,
        inputs: Any,
        training: bool = False,
        batch_norm_momentum: Any = None,
        return_endpoints: bool = False,
    ) -> Any:
        """Compute what the module computes.

        Args:
            inputs: images [batch, height, width, 3], float in [0,1] or uint8 in [0,255].
            training: whether batch norm uses the batch's statistics and updates its moving
                averages, and a classifier drops features.
            batch_norm_momentum: of these averages: a number or a scalar tensor; that of the
                module's version by default.
            return_endpoints: whether to return a dict with all endpoints beside `default`.

        Returns:
            Tensors, of TensorFlow or of Keras's backend: [batch, num_features] or
            [batch, num_classes]; or the dict.

        Raises:
            InputError, InputTypeError: images that do not fit.
        """
        return self._call(inputs, self.info.task, training, batch_norm_momentum, return_endpoints)

    @property
    def signatures(self) -> Mapping[str, Callable[..., dict[str, Any]]]:
        """Functions by name, each from its inputs by name to a dict of its outputs."""
        return MappingProxyType({name: self.signature(name) for name in self.signature_names})

    @property
    def signature_names(self) -> list[str]:
        """Names of the signatures: of the TF2 format, `serving_default` too."""
        serving = [SERVING_DEFAULT] if self.info.module_format == "saved_model_2" else []
        return [*self._known.names, *serving]

    def task(self, signature: str | None) -> Task:
        """What a signature computes; None is what the module does.

        Raises:
            SignatureError: unknown signature.
        """
        return self._known.task(None if self._is_serving(signature) else signature)

    def signature_inputs(self, name: str) -> dict[str, TensorInfo]:
        """Describes the inputs of a signature.

        Raises:
            SignatureError: unknown signature.
        """
        if self._is_serving(name):
            return {_SERVING_INPUT: self._known.inputs(None)["images"]}
        return self._known.inputs(name)

    def signature_outputs(self, name: str | None) -> dict[str, TensorInfo]:
        """Describes the outputs of a signature, or of the module itself with its endpoints.

        Raises:
            SignatureError: unknown signature.
        """
        if self._is_serving(name):
            return {_SERVING_OUTPUT[self.info.task]: self._known.outputs(None)["default"]}
        return self._known.outputs(name)

    def unpack(self, inputs: Any, signature: str | None) -> tuple[Any, Any]:
        """The images of a call, and its batch norm momentum: see `Signatures.unpack`."""
        if self._is_serving(signature):
            signature = None
            if isinstance(inputs, Mapping) and set(inputs) == {_SERVING_INPUT}:
                inputs = inputs[_SERVING_INPUT]
        return self._known.unpack(inputs, signature)

    def signature(self, name: str) -> Callable[..., dict[str, Any]]:
        """A signature as a function that takes `training` and `batch_norm_momentum` too.

        Raises:
            SignatureError: unknown signature.
        """
        is_serving, infos = self._is_serving(name), self.signature_inputs(name)
        task = self.task(name)

        def call(
            images: Any = None,
            training: bool = False,
            batch_norm_momentum: Any = None,
            **inputs: Any,
        ) -> dict[str, Any]:
            given = inputs if images is None else {next(iter(infos)): images, **inputs}
            if "batch_norm_momentum" in infos and batch_norm_momentum is not None:
                given["batch_norm_momentum"] = batch_norm_momentum
            images, _ = self.unpack(given, name)
            computed = self._call(images, task, training, batch_norm_momentum, not is_serving)
            return {_SERVING_OUTPUT[task]: computed} if is_serving else computed

        call.__name__ = name
        return call

    @property
    def _known(self) -> Signatures:
        return Signatures(self.info, self.network)

    def _is_serving(self, name: str | None) -> bool:
        return name == SERVING_DEFAULT and name in self.signature_names

    @property
    def _is_hub_module_v1(self) -> bool:
        """Whether it is of the TF1 format, as `tensorflow_hub` marks what it loads."""
        return self.info.module_format == "hub"

    def _call(self, images: Any, task: Task, training: bool, momentum: Any, as_dict: bool) -> Any:
        """The default output of a task, or all of them by name."""
        raise NotImplementedError
