"""The hall: `hub.Module`, `hub.KerasLayer` and `hub.load`, put together from their forms.

A module is computed in several ways, each in a room of its own that knows nothing of the others:
`inference` on the fast runtime, `keras` in training. What decides between them is said here, and
nothing else is. Signatures, tags, names and error wording follow `tensorflow_hub`, so that code
written for it runs unchanged; what differs is that calls take and return arrays at once, with no
graph and no session.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import TYPE_CHECKING, Any

from mobilenet_hub.catalog import ModuleInfo
from mobilenet_hub.inference import InferenceModule
from mobilenet_hub.signatures import BaseModule, Signatures, checked_tags
from mobilenet_hub.weights.resolve import Spec, module_of

if TYPE_CHECKING:
    from mobilenet_hub.keras.layer import KerasLayer
    from mobilenet_hub.keras.reusable import load

__all__ = ["KerasLayer", "Module", "get_expected_image_size", "get_num_image_channels", "load"]


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
            `[keras]`), on tensors of Keras's backend; else an `InferenceModule`.
        name: kept for compatibility; names nothing but the repr.
        tags: the graph variant: none for inference, `{"train"}` for batch norm in training mode.
        **options: `weights`: to use instead of the published ones: as they are, as the path of a
            file (where the file does not say which module's it holds), or `"random"`.

            In inference, `engine`: `openvino`, or `onnxruntime` (extra `[onnxruntime]`);
            `precision`: `float32`, or `bf16` for speed on CPUs that have it; `threads`: cores to
            use, all by default; `providers`: ONNX Runtime's execution providers, most wanted
            first.

            In training, `dtype`: Keras dtype or policy.

    Raises:
        UnknownHandleError: names the nearest valid handles.
        MissingWeightsError: the weights are not on this machine and cannot be fetched.
        AmbiguousModuleError: the file fits several modules.
        WeightsError: it holds no weights of a module, or they were damaged.
        TagsError: there is no such graph variant.
        MissingExtraError: training without Keras.
    """

    def __init__(
        self,
        spec: Spec,
        trainable: bool = False,
        name: str = "module",
        tags: Collection[str] | None = None,
        **options: Any,
    ) -> None:
        tags = checked_tags(tags)
        form: Any = InferenceModule
        if trainable or tags:
            from mobilenet_hub.keras.training_module import TrainingModule

            form, options = TrainingModule, {"trainable": trainable, "tags": tags, **options}
        asked: Any = type(self)
        self.__class__ = _computed_by(form, asked)
        form.__init__(self, spec, name=name, **options)

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


def get_expected_image_size(module_or_spec: Spec, signature: str | None = None) -> list[int]:
    """Height and width, in pixels, of the images a module expects (or has as its default).

    ```python
    height, width = hub.get_expected_image_size(module)
    ```

    Args:
        module_or_spec: a module, or its handle or path; weights are not needed.
        signature: of the module; only checked.

    Raises:
        UnknownHandleError, SignatureError: as `Module` does.
    """
    info = _info(module_or_spec, signature)
    return [info.image_size, info.image_size]


def get_num_image_channels(module_or_spec: Spec, signature: str | None = None) -> int:
    """Number of channels of the images a module expects: 3."""
    _info(module_or_spec, signature)
    return 3


def _info(spec: Spec, signature: str | None) -> ModuleInfo:
    info = module_of(spec)
    Signatures(info, info.network).task(signature)
    return info


def __getattr__(name: str) -> Any:
    """What needs Keras, imported when it is first used."""
    if name not in ("KerasLayer", "load"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mobilenet_hub import keras

    return getattr(keras, name)
