"""`hub.ModuleSpec`: what there is to know of a module before one is made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Any

from mobilenet_hub.catalog import ModuleInfo
from mobilenet_hub.errors import InputError
from mobilenet_hub.inference import InferenceModule
from mobilenet_hub.signatures import Signatures, TensorInfo, checked_tags
from mobilenet_hub.signatures.attached import attached_message
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.resolve import Spec, module_of, resolve


class ModuleSpec:
    """A module that has not been made yet; `load_module_spec` gives it.

    ```python
    spec = hub.load_module_spec(handle)
    height, width = hub.get_expected_image_size(spec)
    module = hub.Module(spec)
    ```

    Weights are read, and fetched, when a module is made of it.

    Attributes:
        info: the module.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._weights: Weights | None = None
        self.info: ModuleInfo = module_of(spec)

    def current_weights(self) -> Weights:
        """The weights of the modules that are made of it."""
        if self._weights is None:
            self._weights = resolve(self._spec).weights
        return self._weights

    def get_tags(self) -> list[set[str]]:
        """The graph variants: for inference, and for training."""
        return [set(), {"train"}]

    def get_signature_names(self, tags: Collection[str] | None = None) -> list[str]:
        """Names of the signatures.

        Raises:
            TagsError: there is no such graph variant.
        """
        return self._signatures(tags).names

    def get_input_info_dict(
        self, signature: str | None = None, tags: Collection[str] | None = None
    ) -> dict[str, TensorInfo]:
        """Describes the inputs of a signature.

        Raises:
            SignatureError, TagsError: there is no such signature, or graph variant.
        """
        return self._signatures(tags).inputs(signature)

    def get_output_info_dict(
        self, signature: str | None = None, tags: Collection[str] | None = None
    ) -> dict[str, TensorInfo]:
        """Describes the outputs of a signature: `default`, and the endpoints.

        Raises:
            SignatureError, TagsError: there is no such signature, or graph variant.
        """
        return self._signatures(tags).outputs(signature)

    def get_attached_message(
        self,
        key: str,
        message_type: Any,
        tags: Collection[str] | None = None,
        required: bool = False,
    ) -> Any:
        """The message that is attached under a key: see `signatures.attached`."""
        checked_tags(tags)
        return attached_message(self.info, key, message_type, required)

    def export(
        self,
        path: str | PathLike[str],
        _sentinel: None = None,
        checkpoint_path: str | PathLike[str] | None = None,
        name_transform_fn: Callable[[str], str] | None = None,
    ) -> None:
        """Write the module with the weights of a checkpoint, in the TF1 "hub" format.

        ```python
        spec.export("my_module", checkpoint_path="model.ckpt-1000")
        ```

        Args:
            path: of the folder to write, which must not be there yet, or be empty.
            _sentinel: keeps the rest from being passed by position, as in `tensorflow_hub`.
            checkpoint_path: of TensorFlow's checkpoint, without its suffixes.
            name_transform_fn: from a variable's name in the module to that in the checkpoint; the
                same by default.

        Raises:
            InputError: no checkpoint.
            TensorMismatchError: the checkpoint lacks variables of the module.
            FileExistsError: there is something at the path.
            MissingExtraError: TensorFlow is not installed.
        """
        if _sentinel is not None:
            raise TypeError(f"pass checkpoint_path by keyword. Received: {_sentinel!r}")
        if not checkpoint_path:
            raise InputError(
                "Missing mandatory `checkpoint_path` parameter. "
                f"Received: checkpoint_path={checkpoint_path!r}"
            )
        from mobilenet_hub.tensorflow import checkpoint_weights, write_hub_module

        name_of = name_transform_fn or str
        weights = checkpoint_weights(checkpoint_path, self.info, name_of)
        write_hub_module(path, self.info, weights)

    def __repr__(self) -> str:
        """The handle."""
        return f"<hub.ModuleSpec {self.info.handle}>"

    def _signatures(self, tags: Collection[str] | None) -> Signatures:
        checked_tags(tags)
        return Signatures(self.info, self.info.network)


def load_module_spec(path: Spec) -> ModuleSpec:
    """What there is to know of a module.

    ```python
    hub.load_module_spec(handle).get_signature_names()
    ```

    Args:
        path: a handle, or the path of weights, as `hub.Module` takes it.

    Raises:
        UnknownHandleError, MissingWeightsError, AmbiguousModuleError: as `hub.Module`.
    """
    return ModuleSpec(path)


@contextmanager
def eval_function_for_module(
    spec: Spec, tags: Collection[str] | None = None
) -> Iterator[Callable[..., Any]]:
    """A function from arrays to arrays, with no graph and no session to care for.

    ```python
    with hub.eval_function_for_module(handle) as f:
        features = f(images)  # a NumPy array
    ```

    Args:
        spec: as for `hub.Module`.
        tags: none for inference; `{"train"}` for batch norm in training mode (extra
            `[tensorflow]`).

    Yields:
        A function with the arguments of a module's call.

    Raises:
        UnknownHandleError, MissingWeightsError, WeightsError, TagsError: as `hub.Module`.
    """
    tags = checked_tags(tags)
    if not tags:
        yield InferenceModule(spec)
        return
    from mobilenet_hub.tensorflow.graph_module import evaluated

    with evaluated(spec, tags) as function:
        yield function
