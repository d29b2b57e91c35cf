"""`hub.Module`: a handle becomes a callable, as the TF-Hub module pages show it, eagerly.

Signatures, tags, names and error wording follow `tensorflow_hub`'s `Module`, so that code written
for it runs unchanged; what differs is that calls take and return arrays at once, with no graph and
no session.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.arrays import as_images, check_values
from mobilenet_hub.catalog import ModuleInfo, Task
from mobilenet_hub.errors import InputError, SignatureError
from mobilenet_hub.graph import build_graph
from mobilenet_hub.images import Preprocessing
from mobilenet_hub.runtime import (
    Engine,
    EngineName,
    GraphSpec,
    Precision,
    Runner,
    Session,
    make_engine,
)
from mobilenet_hub.settings import Compute
from mobilenet_hub.signatures import Signatures, TensorInfo, checked_tags
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.resolve import Spec, WeightsLike, module_of, resolve

Outputs = dict[str, NDArray[np.float32]]


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
            weights in any format this library reads; or something in training (`Trained`), whose
            weights each call then takes as they are.
        trainable: with it, or with the tag `train`, this makes a `TrainingModule` (extra
            `[keras]`), on tensors of Keras's backend.
        name: kept for compatibility; names nothing but the repr.
        tags: the graph variant: none for inference, `{"train"}` for batch norm in training mode.
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

    def __new__(
        cls,
        spec: Any,
        trainable: bool = False,
        name: str = "module",
        tags: Collection[str] | None = None,
        **options: Any,
    ) -> Module:
        """Training has a class of its own, in the Keras wing."""
        if cls is Module and (trainable or checked_tags(tags)):
            from mobilenet_hub.keras.training_module import TrainingModule

            return super().__new__(TrainingModule)
        return super().__new__(cls)

    def __init__(
        self,
        spec: Spec,
        trainable: bool = False,
        name: str = "module",
        tags: Collection[str] | None = None,
        *,
        weights: WeightsLike = None,
        engine: EngineName = "openvino",
        precision: Precision = "float32",
        threads: int | None = None,
        providers: tuple[str, ...] = ("CPUExecutionProvider",),
    ) -> None:
        resolved = resolve(spec, weights)
        self.info, self._trained = resolved.info, resolved.trained
        self.name = name
        self.compute = Compute(engine, precision, threads, tuple(providers))
        self._engine = make_engine(
            engine, precision=precision, threads=threads, providers=providers
        )
        self._set_weights(resolved.weights)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as what it was made of; the copy compiles its own graphs."""
        self._follow_training()
        return (_made_of, (self.info, self.name, self.weights, self.compute))

    @overload
    def __call__(
        self,
        inputs: Any,
        _sentinel: None = None,
        signature: str | None = None,
        as_dict: Literal[False] | None = None,
        *,
        outputs: Iterable[str] | None = None,
    ) -> NDArray[np.float32]: ...

    @overload
    def __call__(
        self,
        inputs: Any,
        _sentinel: None = None,
        signature: str | None = None,
        *,
        as_dict: Literal[True],
        outputs: Iterable[str] | None = None,
    ) -> Outputs: ...

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
        self._follow_training()
        task = self._signatures.task(signature)
        names = self._signatures.select(outputs, signature, as_dict=bool(as_dict))
        images, _ = self._signatures.unpack(inputs, signature)  # momentum: nothing in inference
        images = as_images(images, self._size, fixed_size=self.info.fixed_size)
        computed = self._compute(task, images, names)
        return computed if as_dict else computed["default"]

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
        self._follow_training()
        task = task or self.info.task
        if task not in self._runners:
            tasks = self._signatures.tasks
            raise SignatureError(f"{self.info.handle} computes {tasks}. Received: {task!r}")
        size = size or self._size
        if self.info.fixed_size and size != self._size:
            raise InputError(f"input size is fixed to {self._size}. Received: {size}")
        return self._runners[task].session(GraphSpec(input_dtype, *size), throughput=True)

    def engine_for_one_thread(self) -> Engine:
        """An engine like this module's own whose sessions compute in the thread that calls them."""
        how = self.compute
        return make_engine(how.engine, precision=how.precision, threads=1, providers=how.providers)

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

    @property
    def weights(self) -> Weights:
        """The weights that the next call computes with."""
        self._follow_training()
        return self._weights

    @property
    def preprocessing(self) -> Preprocessing:
        """How the bytes of an image file become what this module takes: of its own size."""
        return Preprocessing(*self._size)

    @property
    def variable_map(self) -> Mapping[str, Any]:
        """Variables by their TF-Slim name: here, float32 arrays."""
        return self.weights.tensors

    @property
    def variables(self) -> list[Any]:
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

    @property
    def _signatures(self) -> Signatures:
        return Signatures(self.info, self._weights.network)

    def _set_weights(self, weights: Weights) -> None:
        self._weights = weights
        self._runners: dict[Task, Runner] = {
            task: Runner(self._builder(task), self._engine) for task in self._signatures.tasks
        }

    def _follow_training(self) -> None:
        """Take the weights as they are now, if somebody trains them."""
        if self._trained is None:
            return
        weights = self._trained.current_weights()
        if weights is not self._weights:
            self._set_weights(weights)

    def _builder(self, task: Task) -> Any:
        weights = self._weights

        def build(spec: GraphSpec) -> bytes:
            model = build_graph(
                weights,
                task,
                endpoints=spec.endpoints,
                input_dtype=spec.input_dtype,
                size=(spec.height, spec.width),
            )
            return bytes(model.SerializeToString())

        return build

    def _compute(self, task: Task, images: Any, names: tuple[str, ...]) -> Outputs:
        """Named outputs of a batch; endpoints that are the same value share one array."""
        net = self._weights.network
        layers = {n: net.endpoints[n.partition("/")[2]] for n in names if n != "default"}
        first_name = {layer.scope: name for name, layer in reversed(layers.items())}
        if len(images) == 0:
            return {name: self._empty(name, task, images) for name in names}
        endpoints = tuple(dict.fromkeys(first_name.values()))
        computed = self._runners[task](images, endpoints, check=check_values)
        return {
            name: computed[name if name == "default" else first_name[layers[name].scope]]
            for name in names
        }

    def _empty(self, name: str, task: Task, images: Any) -> NDArray[np.float32]:
        net = self._weights.network
        if name == "default":
            channels = net.num_features if task == "feature_vector" else net.num_classes
            return np.empty((0, channels), np.float32)
        shapes = net.endpoint_shapes(images.shape[1], images.shape[2])
        return np.empty((0, *shapes[name.partition("/")[2]]), np.float32)


def get_expected_image_size(
    module_or_spec: Module | Spec, signature: str | None = None
) -> list[int]:
    """Height and width, in pixels, of the images a module expects (or has as its default).

    Raises:
        UnknownHandleError, SignatureError: as `Module` does.
    """
    info = _info(module_or_spec, signature)
    return [info.image_size, info.image_size]


def get_num_image_channels(module_or_spec: Module | Spec, signature: str | None = None) -> int:
    """Number of channels of the images a module expects: 3."""
    _info(module_or_spec, signature)
    return 3


def _info(module_or_spec: Module | Spec, signature: str | None) -> ModuleInfo:
    spec = module_or_spec.info if isinstance(module_or_spec, Module) else module_or_spec
    info = module_of(spec)
    Signatures(info, info.network).task(signature)
    return info


def _made_of(info: ModuleInfo, name: str, weights: Weights, compute: Compute) -> Module:
    """A module from its parts: what unpickling calls."""
    return Module(
        info,
        name=name,
        weights=weights,
        engine=compute.engine,
        precision=compute.precision,
        threads=compute.threads,
        providers=compute.providers,
    )
