"""What can be asked of a module, in `tensorflow_hub`'s words, and the base of all that answer.

Signatures, inputs, outputs and tags; on the fast runtime, in training or in a graph.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mobilenet_hub.catalog import ModuleInfo, Task
from mobilenet_hub.errors import InputError, InputTypeError, OutputError, SignatureError, TagsError
from mobilenet_hub.images import Preprocessing
from mobilenet_hub.networks import Network
from mobilenet_hub.signatures.tensor_info import Shape, TensorInfo
from mobilenet_hub.weights.canonical import Weights

_SIGNATURE_TASK: Mapping[str, Task] = {
    "image_feature_vector": "feature_vector",
    "image_classification": "classification",
}
_BN_HPARAMS = "_with_bn_hparams"


@dataclass(frozen=True, slots=True)
class Signatures:
    """The signatures of a module.

    Attributes:
        info: the module.
        network: its network, whose number of classes may be the caller's own.
    """

    info: ModuleInfo
    network: Network

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What the module computes: a classifier computes features too."""
        both = self.info.task == "classification"
        return ("classification", "feature_vector") if both else ("feature_vector",)

    @property
    def names(self) -> list[str]:
        """All, sorted; those with `batch_norm_momentum` exist from version 3 on."""
        names = ["default", *(n for n, task in _SIGNATURE_TASK.items() if task in self.tasks)]
        if self.info.configurable_momentum:
            names += [f"{name}{_BN_HPARAMS}" for name in names[1:]]
        return sorted(names)

    def task(self, signature: str | None) -> Task:
        """What a signature computes; None is `default`.

        Raises:
            SignatureError: unknown signature.
        """
        if signature is None or signature == "default":
            return self.info.task
        if signature not in self.names:
            raise SignatureError(
                f"Unknown signature {signature} in {self.info.handle} "
                f"(available signatures: {self.names}). Received: {signature!r}"
            )
        return _SIGNATURE_TASK[signature.removesuffix(_BN_HPARAMS)]

    def inputs(self, signature: str | None) -> dict[str, TensorInfo]:
        """Describes the inputs of a signature.

        Raises:
            SignatureError: unknown signature.
        """
        self.task(signature)
        shape = Shape((None, *self.info.image_shape))
        infos = {"images": TensorInfo(np.dtype(np.float32), shape)}
        if (signature or "").endswith(_BN_HPARAMS):
            infos["batch_norm_momentum"] = TensorInfo(np.dtype(np.float32), Shape())
        return infos

    def outputs(self, signature: str | None) -> dict[str, TensorInfo]:
        """Describes the outputs of a signature: `default`, and the endpoints.

        Raises:
            SignatureError: unknown signature.
        """
        task, net, size = self.task(signature), self.network, self.info.image_size
        channels = net.num_features if task == "feature_vector" else net.num_classes
        float32 = np.dtype(np.float32)
        infos = {"default": TensorInfo(float32, Shape((None, channels)))}
        for endpoint, (height, width, depth) in net.endpoint_shapes(size, size).items():
            spatial = (height, width) if self.info.fixed_size else (None, None)
            infos[f"{net.scope}/{endpoint}"] = TensorInfo(float32, Shape((None, *spatial, depth)))
        return infos

    def unpack(self, inputs: Any, signature: str | None) -> tuple[Any, Any]:
        """The images of a call, and its batch norm momentum: None where it gives none.

        A momentum that is a number (and not a tensor of some framework) is checked.

        Raises:
            InputTypeError: other inputs than the signature has.
            InputError: a momentum outside [0,1].
        """
        if inputs is not None and not isinstance(inputs, Mapping):
            if (signature or "").endswith(_BN_HPARAMS):
                raise InputTypeError(
                    f"Signature expects multiple inputs. Use a dict. {signature} takes "
                    "dict(images=..., batch_norm_momentum=...). "
                    f"Received: {type(inputs).__name__}"
                )
            return inputs, None
        inputs = inputs or {}
        missing = sorted(set(self.inputs(signature)) - set(inputs))
        extra = sorted(set(map(str, inputs)) - set(self.inputs(signature)))
        if missing or extra:
            raise InputTypeError(
                f"Cannot convert dict_inputs: missing {missing!r}, extra given {extra!r}. "
                f"Received: {sorted(map(str, inputs))}"
            )
        images, momentum = split_inputs(inputs)
        return images, None if "batch_norm_momentum" not in inputs else checked_momentum(momentum)

    def select(
        self, outputs: Iterable[str] | None, signature: str | None, *, as_dict: bool
    ) -> tuple[str, ...]:
        """The names of the outputs that a call wants; None is all for a dict, else `default`.

        Raises:
            OutputError: unknown output.
        """
        if outputs is None and not as_dict:
            return ("default",)
        known = self.outputs(signature)
        if outputs is None:
            return tuple(known)
        names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
        for name in names:
            if name not in known:
                raise OutputError(
                    f"There is no output named {name!r}. Signature {signature or 'default'} has: "
                    f"{', '.join(known)}. Received: {name!r}"
                )
        if not as_dict and "default" not in names:
            raise OutputError(
                f"There is no output named 'default'. Use as_dict=True. Received: outputs={names}"
            )
        return names if as_dict else ("default",)


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


def split_inputs(inputs: Any) -> tuple[Any, Any]:
    """The images among the inputs of a call, and the momentum: None where there is none."""
    if isinstance(inputs, Mapping):
        return inputs["images"], inputs.get("batch_norm_momentum")
    return inputs, None


def checked_momentum(value: Any) -> Any:
    """A batch norm momentum; checked, if it is a number and not a tensor of some framework.

    Raises:
        InputError: not in [0,1].
    """
    is_scalar = np.ndim(value) == 0 if isinstance(value, np.ndarray) else True
    is_number = isinstance(value, int | float | np.number | np.ndarray) and is_scalar
    is_tensor = hasattr(value, "shape") and hasattr(value, "dtype") and is_scalar
    if not (0.0 <= float(value) <= 1.0 if is_number else is_tensor):
        raise InputError(f"batch_norm_momentum must be in [0,1]. Received: {value!r}")
    return value


def checked_tags(tags: Collection[str] | None, *more: str) -> frozenset[str]:
    """The tags of a graph variant: none for inference, `train`.

    Args:
        tags: as given; None is none.
        *more: tags that are allowed too.

    Raises:
        TagsError: there is no such variant.
    """
    wanted = frozenset([tags] if isinstance(tags, str) else tags or ())
    if not wanted <= {"train", *more}:
        names = sorted(map(str, wanted))
        raise TagsError(
            f"No such graph variant: tags={names}. Expected no tags (inference) or {{'train'}}. "
            f"Received: {names}"
        )
    return wanted
