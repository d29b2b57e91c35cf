"""`hub.Module`: a handle becomes a callable, as the TF-Hub module pages show it, eagerly.

Signatures, tags, names and error wording follow `tensorflow_hub`'s `Module`, so that code written
for it runs unchanged; what differs is that calls take and return arrays at once, with no graph and
no session.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.arrays import as_images
from mobilenet_hub.catalog import ModuleInfo, Task
from mobilenet_hub.errors import InputError, OutputError, SignatureError, TagsError
from mobilenet_hub.graph import build_graph
from mobilenet_hub.runtime import EngineName, GraphSpec, Precision, Runner, Session, make_engine
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.random import random_weights
from mobilenet_hub.weights.readers import read
from mobilenet_hub.weights.store import handle_or_path, load_weights, locate

Outputs = dict[str, NDArray[np.float32]]
_SIGNATURE_TASK: Mapping[str, Task] = {
    "image_feature_vector": "feature_vector",
    "image_classification": "classification",
}
_BN_HPARAMS = "_with_bn_hparams"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output of a signature, with the accessors of `tensorflow_hub`'s tensor info.

    Attributes:
        dtype: of the tensor.
        shape: with None for sizes that may vary.
    """

    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]

    def get_shape(self) -> tuple[int | None, ...]:
        """The shape."""
        return self.shape

    @property
    def is_sparse(self) -> bool:
        """Never: all are dense."""
        return False


class Module:
    """A MobileNet module, ready to be called on batches of images.

    ```python
    module = hub.Module("https://tfhub.dev/google/imagenet/mobilenet_v2_035_224/feature_vector/3")
    height, width = hub.get_expected_image_size(module)
    features = module(images)  # [batch, 1280] float32
    ```

    Calls are safe from several threads at once.

    Args:
        spec: a handle (see `hub.list_modules`), or the path of a file, folder or archive with
            weights in any format this library reads.
        trainable: must be False here; training comes with the Keras wing.
        name: kept for compatibility; names nothing but the repr.
        tags: the graph variant: none for inference.
        weights: weights to use instead of the published ones: as they are, as the path of a file
            (where the file does not say which module's it holds), or `"random"`.
        engine: `openvino`, or `onnxruntime` (extra `[onnxruntime]`).
        precision: `float32`, or `bf16` for speed on CPUs that have it.
        threads: cores to use; all by default.
        providers: ONNX Runtime's execution providers, most wanted first.

    Raises:
        UnknownHandleError: names the nearest valid handles.
        MissingWeightsError: the weights are not on this machine and cannot be fetched.
        AmbiguousModuleError: the file fits several modules.
        WeightsError: it holds no weights of a module, or they were damaged.
        TagsError: there is no such graph variant.
    """

    def __init__(
        self,
        spec: str | PathLike[str] | ModuleInfo,
        trainable: bool = False,
        name: str = "module",
        tags: Collection[str] | None = None,
        *,
        weights: Weights | str | PathLike[str] | None = None,
        engine: EngineName = "openvino",
        precision: Precision = "float32",
        threads: int | None = None,
        providers: tuple[str, ...] = ("CPUExecutionProvider",),
    ) -> None:
        self.info, found = _locate(spec)
        self.name = name
        _refuse_training(trainable, tags)
        self.weights = self._resolve(found if weights is None else weights)
        self._engine = make_engine(
            engine, precision=precision, threads=threads, providers=providers
        )
        self._runners: dict[Task, Runner] = {
            task: Runner(self._builder(task), self._engine) for task in self._tasks()
        }

    def __call__(
        self,
        inputs: Any,
        _sentinel: None = None,
        signature: str | None = None,
        as_dict: bool | None = None,
        *,
        outputs: Iterable[str] | None = None,
    ) -> Any:
        """Apply a signature to images.

        Args:
            inputs: images [batch, height, width, 3], float in [0,1] or uint8 in [0,255], or a dict
                with `images` (and `batch_norm_momentum` for the `*_with_bn_hparams` signatures).
            _sentinel: keeps the rest from being passed by position, as in `tensorflow_hub`.
            signature: `default`, `image_feature_vector`, `image_classification`, ...
            as_dict: whether to return all outputs by name.
            outputs: with `as_dict`, which outputs to compute (default: all; the endpoints of a
                large batch are large).

        Returns:
            float32 [batch, num_features] features or [batch, num_classes] logits; or a dict of
            these as `default` and every endpoint, float32 [batch, height, width, channels].

        Raises:
            SignatureError: unknown signature.
            InputError, InputTypeError: images that do not fit.
            OutputError: an unknown output.
        """
        if _sentinel is not None:
            raise TypeError("pass signature and as_dict by keyword")
        task = self._signature_task(signature)
        images = as_images(
            self._unpack(inputs, signature), self._size, fixed_size=self.info.fixed_size
        )
        names = self._select(outputs, signature) if as_dict else ("default",)
        return self._compute(task, images, names) if as_dict else self._default(task, images)

    def session(
        self,
        task: Task | None = None,
        *,
        input_dtype: Literal["uint8", "float32"] = "uint8",
        size: tuple[int, int] | None = None,
    ) -> Session:
        """The compiled form that runs tiles of images on all cores, for callers with own buffers.

        Args:
            task: what to compute; the module's own task by default.
            input_dtype: uint8 in [0,255] or float32 in [0,1]; nothing is checked there.
            size: height and width, where the module's input size is not fixed.

        Raises:
            SignatureError: the module does not compute that task.
            InputError: another size than the fixed one.
        """
        task = task or self.info.task
        if task not in self._runners:
            raise SignatureError(f"{self.info.handle} computes {self._tasks()}. Received: {task!r}")
        size = size or self._size
        if self.info.fixed_size and size != self._size:
            raise InputError(f"input size is fixed to {self._size}. Received: {size}")
        return self._runners[task].session(GraphSpec(input_dtype, *size), throughput=True)

    def get_signature_names(self) -> list[str]:
        """Names of the module's signatures."""
        names = ["default", *(n for n, task in _SIGNATURE_TASK.items() if task in self._tasks())]
        if self.info.configurable_momentum:
            names += [f"{name}{_BN_HPARAMS}" for name in names[1:]]
        return sorted(names)

    def get_input_info_dict(self, signature: str | None = None) -> dict[str, TensorInfo]:
        """Describes the inputs of a signature.

        Raises:
            SignatureError: unknown signature.
        """
        self._signature_task(signature)
        height, width = self._size if self.info.fixed_size else (None, None)
        infos = {"images": TensorInfo(np.dtype(np.float32), (None, height, width, 3))}
        if signature is not None and signature.endswith(_BN_HPARAMS):
            infos["batch_norm_momentum"] = TensorInfo(np.dtype(np.float32), ())
        return infos

    def get_output_info_dict(self, signature: str | None = None) -> dict[str, TensorInfo]:
        """Describes the outputs of a signature: `default`, and the endpoints for `as_dict=True`.

        Raises:
            SignatureError: unknown signature.
        """
        task = self._signature_task(signature)
        net = self.weights.network
        channels = net.num_features if task == "feature_vector" else net.num_classes
        float32 = np.dtype(np.float32)
        infos = {"default": TensorInfo(float32, (None, channels))}
        for endpoint, (height, width, depth) in net.endpoint_shapes(*self._size).items():
            size = (height, width) if self.info.fixed_size else (None, None)
            infos[f"{net.scope}/{endpoint}"] = TensorInfo(float32, (None, *size, depth))
        return infos

    @property
    def variable_map(self) -> Mapping[str, NDArray[np.float32]]:
        """Variables by their TF-Slim name."""
        return self.weights.tensors

    @property
    def variables(self) -> list[NDArray[np.float32]]:
        """Variables, sorted by name as in `tensorflow_hub`."""
        return [value for _, value in sorted(self.variable_map.items())]

    def __repr__(self) -> str:
        """The handle and what it computes."""
        height, width = self._size
        source = self.weights.metadata.get("source")
        return f"<hub.Module {self.info.handle} {height}x{width} from {source}>"

    @property
    def _size(self) -> tuple[int, int]:
        return (self.info.image_size, self.info.image_size)

    def _tasks(self) -> tuple[Task, ...]:
        both = self.info.task == "classification"
        return ("classification", "feature_vector") if both else ("feature_vector",)

    def _resolve(self, weights: Weights | str | PathLike[str] | None) -> Weights:
        if weights is None:
            return load_weights(self.info)
        if isinstance(weights, str) and weights == "random":
            return random_weights(self.info.network, logits=self.info.task == "classification")
        if isinstance(weights, str | PathLike):
            return read(weights, handle=self.info.handle)
        if not isinstance(weights, Weights):
            raise TypeError(f"weights must be Weights, a path or 'random'. Received: {weights!r}")
        return weights

    def _builder(self, task: Task) -> Any:
        def build(spec: GraphSpec) -> bytes:
            model = build_graph(
                self.weights,
                task,
                endpoints=spec.endpoints,
                input_dtype=spec.input_dtype,
                size=(spec.height, spec.width),
            )
            return bytes(model.SerializeToString())

        return build

    def _signature_task(self, signature: str | None) -> Task:
        if signature is None or signature == "default":
            return self.info.task
        if signature not in self.get_signature_names():
            raise SignatureError(
                f"Unknown signature {signature} in {self.info.handle} "
                f"(available signatures: {self.get_signature_names()}). Received: {signature!r}"
            )
        return _SIGNATURE_TASK[signature.removesuffix(_BN_HPARAMS)]

    def _unpack(self, inputs: Any, signature: str | None) -> Any:
        """The images of a call; a momentum is checked, and changes nothing in inference."""
        if not isinstance(inputs, Mapping):
            if signature is not None and signature.endswith(_BN_HPARAMS):
                raise InputError(
                    f"signature {signature} takes dict(images=..., batch_norm_momentum=...). "
                    f"Received: {type(inputs).__name__}"
                )
            return inputs
        expected = self.get_input_info_dict(signature)
        if set(inputs) != set(expected):
            raise InputError(
                f"expected the inputs {sorted(expected)}. Received: {sorted(map(str, inputs))}"
            )
        momentum = inputs.get("batch_norm_momentum", 0.0)
        if not 0.0 <= float(momentum) <= 1.0:
            raise InputError(f"batch_norm_momentum must be in [0,1]. Received: {momentum!r}")
        return inputs["images"]

    def _select(self, outputs: Iterable[str] | None, signature: str | None) -> tuple[str, ...]:
        known = self.get_output_info_dict(signature)
        names = tuple(known if outputs is None else outputs)
        for name in names:
            if name not in known:
                raise OutputError(
                    f"There is no output named {name!r}. Signature {signature or 'default'} has: "
                    f"{', '.join(known)}. Received: {name!r}"
                )
        return names

    def _default(self, task: Task, images: Any) -> NDArray[np.float32]:
        return self._compute(task, images, ("default",))["default"]

    def _compute(self, task: Task, images: Any, names: tuple[str, ...]) -> Outputs:
        """Named outputs of a batch; endpoints that are the same value share one array."""
        net = self.weights.network
        layers = {n: net.endpoints[n.partition("/")[2]] for n in names if n != "default"}
        first_name = {layer.scope: name for name, layer in reversed(layers.items())}
        if len(images) == 0:
            return {name: self._empty(name, task, images) for name in names}
        computed = self._runners[task](images, tuple(dict.fromkeys(first_name.values())))
        return {
            name: computed[name if name == "default" else first_name[layers[name].scope]]
            for name in names
        }

    def _empty(self, name: str, task: Task, images: Any) -> NDArray[np.float32]:
        net = self.weights.network
        if name == "default":
            channels = net.num_features if task == "feature_vector" else net.num_classes
            return np.empty((0, channels), np.float32)
        shapes = net.endpoint_shapes(images.shape[1], images.shape[2])
        return np.empty((0, *shapes[name.partition("/")[2]]), np.float32)


def _refuse_training(trainable: bool, tags: Collection[str] | None) -> None:
    wanted = sorted(set(tags or ()))
    if wanted and wanted != ["train"]:
        raise TagsError(
            f"No such graph variant: tags={wanted}. Expected no tags (inference) or {{'train'}}. "
            f"Received: {wanted}"
        )
    if wanted or trainable:
        raise NotImplementedError(
            "Training is not available in this version; use tags=None and trainable=False for "
            f"inference. Received: trainable={trainable}, tags={wanted}"
        )


def get_expected_image_size(
    module_or_spec: Module | ModuleInfo | str | PathLike[str], signature: str | None = None
) -> list[int]:
    """Height and width, in pixels, of the images a module expects (or has as its default).

    Raises:
        UnknownHandleError, SignatureError: as `Module` does.
    """
    info = _info(module_or_spec, signature)
    return [info.image_size, info.image_size]


def get_num_image_channels(
    module_or_spec: Module | ModuleInfo | str | PathLike[str], signature: str | None = None
) -> int:
    """Number of channels of the images a module expects: 3."""
    _info(module_or_spec, signature)
    return 3


def _info(
    module_or_spec: Module | ModuleInfo | str | PathLike[str], signature: str | None
) -> ModuleInfo:
    if isinstance(module_or_spec, Module):
        module_or_spec.get_input_info_dict(signature)
        return module_or_spec.info
    return _locate(module_or_spec)[0]


def _locate(spec: str | PathLike[str] | ModuleInfo) -> tuple[ModuleInfo, Weights | None]:
    """The module that is meant; of a path, the weights too, which say what it is."""
    target = spec if isinstance(spec, ModuleInfo) else handle_or_path(spec)
    return (target, None) if isinstance(target, ModuleInfo) else locate(target)
