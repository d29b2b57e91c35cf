"""The hall: `hub.Module`, `hub.KerasLayer` and `hub.load`, put together from their forms.

A module is computed in several ways, each in a room of its own that knows nothing of the others:
`inference` on the fast runtime, `keras` in training, `tensorflow` in TensorFlow's graphs. What
decides between them is said here, and nothing else is. Signatures, tags, names and error wording
follow `tensorflow_hub`, so that code written for it runs unchanged.

TensorFlow is never imported to find out whether somebody uses it: `sys.modules` tells.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from mobilenet_hub.catalog import ModuleInfo
from mobilenet_hub.errors import InputError, MissingExtraError, UnsupportedError
from mobilenet_hub.inference import InferenceModule
from mobilenet_hub.signatures import BaseModule, Signatures, checked_tags
from mobilenet_hub.signatures.attached import attached_message
from mobilenet_hub.weights.resolve import Spec, module_of

if TYPE_CHECKING:
    from mobilenet_hub.keras.layer import KerasLayer

__all__ = [
    "KerasLayer",
    "Module",
    "get_expected_image_size",
    "get_num_image_channels",
    "image_embedding_column",
    "load",
]


# Modules made in eager execution, and what they are in the graphs where they were applied later.
_IN_GRAPHS: WeakKeyDictionary[Module, Any] = WeakKeyDictionary()


class Module(BaseModule):
    """A MobileNet module, ready to be called on batches of images.

    ```python
    module = hub.Module("https://tfhub.dev/google/imagenet/mobilenet_v2_035_224/feature_vector/3")
    height, width = hub.get_expected_image_size(module)
    features = module(images)  # [batch, 1280] float32
    ```

    Calls are safe from several threads at once. A module in inference can be pickled and copied;
    one in training too, as a copy with the weights it has then.

    Args:
        spec: a handle (see `hub.list_modules`), or the path of a file, folder or archive with
            weights in any format this library reads; or something in training (`Trained`), whose
            weights each call then takes as they are.
        trainable: with it, or with the tag `train`, this is a `keras.TrainingModule` (extra
            `[keras]`), on tensors of Keras's backend; else an `InferenceModule`. Where TensorFlow
            does not execute eagerly, in a graph or in a function being traced, this is a
            `tensorflow.GraphModule`, trained or not.
        name: of the variables' scope in a graph; elsewhere it names nothing but the repr.
        tags: the graph variant: none for inference, `{"train"}` for batch norm in training mode.
        **options: `weights`: to use instead of the published ones: as they are, as the path of a
            file (where the file does not say which module's it holds), or `"random"`.

            In inference, `engine`: `openvino`, or `onnxruntime` (extra `[onnxruntime]`);
            `precision`: `float32`; or, for speed, `bf16` or `int8` (docs/precision.md); by default
            that which a classifier was fitted with, else `float32`; `threads`: cores to use, all
            by default; `providers`: ONNX Runtime's execution providers, most wanted first.

            In training, `dtype`: Keras dtype or policy.

    Raises:
        UnknownHandleError: names the nearest valid handles.
        MissingWeightsError: the weights are not on this machine and cannot be fetched.
        AmbiguousModuleError: the file fits several modules.
        WeightsError: it holds no weights of a module, or they were damaged.
        TagsError: there is no such graph variant.
        EngineError: an engine, precision or provider that is not there; `bf16` on a CPU without.
        MissingCalibrationError: `int8` of weights that nobody has calibrated (of a module for
            images of any size, at the first call of a size).
        MissingExtraError: training without Keras, or an engine that is not installed.
    """

    def __init__(
        self,
        spec: Spec,
        trainable: bool = False,
        name: str = "module",
        tags: Collection[str] | None = None,
        **options: Any,
    ) -> None:
        tags = checked_tags(tags) if tags else None
        form: Any = InferenceModule
        if _in_a_graph() and not options.keys() - {"weights"}:
            from mobilenet_hub.tensorflow.graph_module import GraphModule

            form, options = GraphModule, {"trainable": trainable, "tags": tags, **options}
        elif trainable or tags:
            from mobilenet_hub.keras.training_module import TrainingModule

            form, options = TrainingModule, {"trainable": trainable, "tags": tags, **options}
        asked: Any = type(self)
        self.__class__ = _computed_by(form, asked)
        form.__init__(self, spec, name=name, **options)

    def __call__(
        self,
        inputs: Any = None,
        _sentinel: None = None,
        signature: str | None = None,
        as_dict: bool | None = None,
        *,
        outputs: Iterable[str] | None = None,
    ) -> Any:
        """Apply a signature to images, which may be symbols of a graph's tensors.

        See `signatures.BaseModule`, whose arguments and errors these are.
        """
        if isinstance(self, InferenceModule) and _is_symbolic(inputs):
            from mobilenet_hub.tensorflow.graph_module import InGraphs

            form = _IN_GRAPHS.setdefault(self, InGraphs()).form(self)
            return form(inputs, _sentinel, signature, as_dict, outputs=outputs)
        return super().__call__(inputs, _sentinel, signature, as_dict, outputs=outputs)

    def get_attached_message(self, key: str, message_type: Any, required: bool = False) -> Any:
        """The message that is attached to the module: see `signatures.attached`."""
        return attached_message(self.info, key, message_type, required)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the two classes that made its own, and by what its form says of itself."""
        asked, form = type(self).__bases__
        return (_unpickled, (form, asked), self.__getstate__())


@cache
def _computed_by(form: Any, asked: Any) -> Any:
    """`hub.Module`, or a subclass of it, that computes as a form does.

    So `isinstance` holds for both, and a subclass may extend whichever form it is made in.
    """
    names = {"__module__": asked.__module__, "__qualname__": asked.__qualname__}
    return type(asked.__name__, (asked, form), {"__doc__": asked.__doc__, **names})


def _unpickled(form: Any, asked: Any) -> Any:
    return object.__new__(_computed_by(form, asked))


def load(
    handle: Spec,
    tags: Collection[str] | None = None,
    options: Any = None,
    **given: Any,
) -> Any:
    """Load a module as a trainable object, as `tensorflow_hub.load` did.

    ```python
    module = hub.load("https://tfhub.dev/google/tf2-preview/mobilenet_v2/feature_vector/4")
    features = module(images, training=True, batch_norm_momentum=0.997)
    ```

    Args:
        handle: of a module, or the path of a file, folder or archive with weights in any format
            this library reads.
        tags: none or `{"serve"}`; `{"train"}` too, since the object does both.
        options: kept for compatibility (TensorFlow's `LoadOptions`); there is nothing to set.
        **given: `weights`: instead of the published ones, as in `hub.Module`; `dtype`: Keras dtype
            or policy, for a `keras.Reusable`.

    Returns:
        On TensorFlow a `tensorflow.LoadedModule`, which is a `tf.Module`; on another backend of
        Keras, or with a `dtype`, a `keras.Reusable`.

    Raises:
        UnknownHandleError, MissingWeightsError, WeightsError: as `hub.Module`.
        TagsError: there is no such graph variant.
        MissingExtraError: neither TensorFlow nor Keras is installed.
    """
    if "dtype" not in given and _on_tensorflow():
        from mobilenet_hub.tensorflow import load as load_on_tensorflow

        return load_on_tensorflow(handle, tags, options, **given)
    from mobilenet_hub.keras import load as load_on_keras

    return load_on_keras(handle, tags, options, **given)


def image_embedding_column(
    key: str, module_spec: Spec, image_size: tuple[int, int] | None = None
) -> Any:
    """A feature column that computes the features of images (extra `[tensorflow]`).

    See `tensorflow.feature_column.image_embedding_column`, whose arguments and errors these are.

    Raises:
        UnsupportedError: this TensorFlow has no feature columns any more.
    """
    try:
        from mobilenet_hub.tensorflow import image_embedding_column as column
    except (AttributeError, ImportError) as error:
        if isinstance(error, MissingExtraError):
            raise
        raise UnsupportedError(
            "image_embedding_column needs a TensorFlow that has feature columns: use "
            f"hub.KerasLayer. Received: {error}"
        ) from error
    return column(key, module_spec, image_size)


load.autograph_info__ = {}  # type: ignore[attr-defined]  # TensorFlow's AutoGraph: call it as it is


def get_expected_image_size(
    module_or_spec: Spec, signature: str | None = None, input_name: str | None = None
) -> list[int]:
    """Height and width, in pixels, of the images a module expects (or has as its default).

    ```python
    height, width = hub.get_expected_image_size(module)
    ```

    Args:
        module_or_spec: a module, or its spec, handle or path; weights are not needed.
        signature: of the module; only checked.
        input_name: of the images among its inputs; only checked.

    Raises:
        UnknownHandleError, SignatureError: as `Module` does.
        InputError: there is no such input, or it is none of images.
    """
    info = _info(module_or_spec, signature, input_name)
    return [info.image_size, info.image_size]


def get_num_image_channels(
    module_or_spec: Spec, signature: str | None = None, input_name: str | None = None
) -> int:
    """Number of channels of the images a module expects: 3."""
    _info(module_or_spec, signature, input_name)
    return 3


def _info(spec: Spec, signature: str | None, input_name: str | None) -> ModuleInfo:
    info = module_of(spec)
    inputs = Signatures(info, info.network).inputs(signature)
    name = input_name or "images"
    if name not in inputs:
        raise InputError(
            f"Module is missing input '{name}' in signature '{signature or 'default'}'. "
            f"Received: {input_name!r}"
        )
    if len(inputs[name].shape) != 4:
        raise InputError(
            f"Shape of module input is {inputs[name].shape}, expected [batch_size, height, width, "
            f"num_channels]. Received: {input_name!r}"
        )
    return info


def _in_a_graph() -> bool:
    """Whether TensorFlow is there and adds operations to a graph in place of executing them."""
    executing_eagerly = getattr(sys.modules.get("tensorflow"), "executing_eagerly", None)
    return executing_eagerly is not None and not executing_eagerly()


def _is_symbolic(inputs: Any) -> bool:
    """Whether the inputs of a call are tensors of a graph of TensorFlow, without values."""
    is_symbolic = getattr(sys.modules.get("tensorflow"), "is_symbolic_tensor", None)
    values = inputs.values() if isinstance(inputs, Mapping) else (inputs,)
    return is_symbolic is not None and any(map(is_symbolic, values))


def _on_tensorflow() -> bool:
    """Whether what is trained is trained on TensorFlow: in a graph, with tf_keras, or Keras 3."""
    if _in_a_graph() or _legacy_keras() or find_spec("keras") is None:
        return find_spec("tensorflow") is not None
    return bool(import_module("mobilenet_hub.keras").backend() == "tensorflow")


def _legacy_keras() -> bool:
    """Whether `tf.keras` is `tf_keras`, that is Keras 2: as TensorFlow decides it."""
    return os.environ.get("TF_USE_LEGACY_KERAS") in ("1", "true", "True")


def __getattr__(name: str) -> Any:
    """`KerasLayer`, of that Keras which `tf.keras` is; imported when it is first used."""
    if name != "KerasLayer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = "tensorflow" if _legacy_keras() else "keras"
    return import_module(f"mobilenet_hub.{room}").KerasLayer
