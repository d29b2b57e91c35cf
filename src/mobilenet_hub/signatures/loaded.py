"""What every form of `hub.load`'s object shares, in TensorFlow or on Keras."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from types import MappingProxyType
from typing import Any

from mobilenet_hub.catalog import ModuleInfo, Task
from mobilenet_hub.networks import Network
from mobilenet_hub.signatures.module import Signatures
from mobilenet_hub.signatures.tensor_info import TensorInfo
from mobilenet_hub.weights.canonical import Weights

# What the published modules of the TF2 format call their one signature, its input and its output.
SERVING_DEFAULT = "serving_default"
_SERVING_INPUT = "inputs"
_SERVING_OUTPUT: Mapping[Task, str] = {
    "classification": "logits",
    "feature_vector": "feature_vector",
}


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
