"""The fast form of a module: a network compiled for the CPU, called on batches of images.

Nothing of Keras is known here. A module in training is followed all the same: each call takes the
weights as they are then (`weights.resolve.Trained`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache, partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub import __version__
from mobilenet_hub.arrays import as_images, check_values
from mobilenet_hub.catalog import Task
from mobilenet_hub.errors import InputError, SignatureError
from mobilenet_hub.graph import build_graph
from mobilenet_hub.graph.onnx_format import Graph, Port
from mobilenet_hub.runtime import (
    EngineName,
    GraphSpec,
    Precision,
    Runner,
    Session,
    make_engine,
)
from mobilenet_hub.runtime.contracts import LazyModel, Model, Outputs
from mobilenet_hub.settings import Compute
from mobilenet_hub.signatures import BaseModule, Signatures
from mobilenet_hub.weights.canonical import Weights, fingerprint
from mobilenet_hub.weights.resolve import Spec, WeightsLike, resolve

if TYPE_CHECKING:
    from mobilenet_hub.weights.calibration import Calibration

FEATURES = "features"  # an output beside logits


class InferenceModule(BaseModule):
    """A module on the fast runtime, from arrays to arrays; safe to call from several threads.

    ```python
    module = InferenceModule("google/imagenet/mobilenet_v2_100_224/feature_vector/5")
    features = module(images)  # float32 [batch, 1280]
    ```

    Args:
        spec: a handle, a path, or something in training, as `hub.Module` takes it.
        name: names nothing but the repr.
        weights: instead of the published ones, as `hub.Module` takes them.
        engine: `openvino`, or `onnxruntime` (extra `[onnxruntime]`).
        precision: `float32`; or, for speed, `bf16` on CPUs that have it or `int8`, by a calibration
            of the weights. By default that which a classifier was fitted with, else `float32`.
        threads: cores to use; all by default.
        providers: ONNX Runtime's execution providers, most wanted first.

    Attributes:
        info: the module.
        name: as given.
        compute: the engine and its settings.

    Raises:
        UnknownHandleError, MissingWeightsError, AmbiguousModuleError, WeightsError: as
            `hub.Module`.
        EngineError: an engine, a precision (`bf16` on a CPU without) or a provider that is not
            there.
        MissingCalibrationError: `int8` of weights that nobody has calibrated; of a module that
            takes images of any size, at the first call of one that nobody has.
    """

    def __init__(
        self,
        spec: Spec,
        name: str = "module",
        *,
        weights: WeightsLike = None,
        engine: EngineName = "openvino",
        precision: Precision | None = None,
        threads: int | None = None,
        providers: tuple[str, ...] = ("CPUExecutionProvider",),
    ) -> None:
        resolved = resolve(spec, weights)
        self.info, self._trained = resolved.info, resolved.trained
        self.name = name
        fitted = resolved.weights.classifier
        chosen = precision or (fitted.precision if fitted else "float32")
        names = providers if isinstance(providers, str) else tuple(providers)  # refused below
        self.compute = Compute(engine, chosen, threads, names)
        self._engine = make_engine(self.compute)
        self._set_weights(resolved.weights)
        if chosen == "int8" and self.info.fixed_size:
            self.calibration()  # there is none: better said here than at the first call

    def __getstate__(self) -> dict[str, Any]:
        """What it was made of, the weights as they are now: a copy compiles its own graphs."""
        self.current_weights()
        left_out = ("_engine", "_runners")
        return {k: v for k, v in vars(self).items() if k not in left_out} | {"_trained": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._engine = make_engine(self.compute)
        self._set_weights(self._weights)

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
        self.current_weights()
        task = task or self.info.task
        if task not in self._runners:
            tasks = self._signatures.tasks
            raise SignatureError(f"{self.info.handle} computes {tasks}. Received: {task!r}")
        size = size or self._size
        if self.info.fixed_size and size != self._size:
            raise InputError(f"input size is fixed to {self._size}. Received: {size}")
        return self._runners[task].session(GraphSpec(input_dtype, *size), throughput=True)

    def calibration(self, size: tuple[int, int] | None = None) -> Calibration | None:
        """What int8 is computed by; None in other precisions.

        Args:
            size: of the input, where it is not that of the module's own `preprocessing`.

        Raises:
            MissingCalibrationError: there is none for these weights and this size.
        """
        if self.compute.precision != "int8":
            return None
        return _calibration(self.current_weights(), size or self.preprocessing.size)

    def identity(self, size: tuple[int, int]) -> dict[str, str]:
        """What decides the numbers beside settings, as it is noted with rows.

        That is `handle` and `weights_sha256`; in int8 `calibration_sha256` too.

        Args:
            size: height and width of the input.

        Raises:
            MissingCalibrationError: as `calibration`.
        """
        weights = self.current_weights()
        known = {"handle": self.info.handle, "weights_sha256": fingerprint(weights)}
        if self.compute.precision == "int8":
            known["calibration_sha256"] = _calibration(weights, size).sha256
        return known

    def current_weights(self) -> Weights:
        """The weights that the next call computes with: of what is followed, as they are now.

        Raises:
            WeightsError: values that are not finite: the training went wrong.
        """
        if self._trained is not None:
            weights = self._trained.current_weights()
            if weights is not self._weights:
                self._set_weights(weights)
        return self._weights

    @property
    def variable_map(self) -> Mapping[str, NDArray[np.float32]]:
        """Float32 arrays by their TF-Slim name."""
        return self.current_weights().tensors

    def __repr__(self) -> str:
        """The handle and what it computes."""
        height, width = self._size
        source = self.current_weights().metadata.get("source")
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
            task: Runner(partial(graph_of, weights, self.compute.precision, task), self._engine)
            for task in self._signatures.tasks
        }

    def _compute(self, images: Any, task: Task, names: tuple[str, ...], momentum: Any) -> Outputs:
        """Named outputs of a batch; endpoints that are the same value share one array.

        A momentum changes nothing in inference.
        """
        images = as_images(images, self.info.image_shape)
        net = self.current_weights().network
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


def in_inference(module: Spec) -> InferenceModule:
    """The module itself, where it is one in inference; else one made of what is meant."""
    return module if isinstance(module, InferenceModule) else InferenceModule(module)


def graph_of(
    weights: Weights, precision: Precision, task: Task, spec: GraphSpec, *, features: bool = False
) -> Model:
    """The graph of a task in one form; built only when it is compiled, where weights are a file's.

    Args:
        weights: of the network.
        precision: of its convolutions.
        task: what its output `default` is.
        spec: of its input, and of further outputs.
        features: whether `FEATURES` is an output of one that classifies.

    Raises:
        MissingCalibrationError: `int8` of weights that nobody has calibrated for this size.
    """
    size, calibration = (spec.height, spec.width), None
    if precision == "int8":
        calibration = _calibration(weights, size)

    def build() -> Graph:
        builder = None
        if calibration is not None:
            from mobilenet_hub.graph.int8 import QuantizedBuilder

            builder = QuantizedBuilder(weights, calibration)
        graph = build_graph(
            weights, task, endpoints=spec.endpoints, input_dtype=spec.input_dtype, size=size,
            builder=builder,
        )  # fmt: skip
        if features:  # inside of it they are there already
            graph.outputs.append(Port(FEATURES, ("batch", weights.network.num_features)))
        return graph

    if weights.sha256 is None:  # random, or in training: seldom the same twice
        return build()
    made = {
        "weights": weights.sha256, "task": task, **asdict(spec), "features": features,
        "calibration": calibration and calibration.sha256, "code": _code_digest(),
    }  # fmt: skip
    return LazyModel(made, build)


@cache
def _code_digest() -> str:
    """The sha256 of what makes a graph of weights: with other code, a graph may be another."""
    package = files("mobilenet_hub")
    digest = hashlib.sha256(__version__.encode())
    for room in ("graph", "weights"):
        for file in sorted(package.joinpath(room).iterdir(), key=lambda file: file.name):
            if file.name.endswith(".py"):
                digest.update(file.read_bytes())
    digest.update(package.joinpath("networks.py").read_bytes())
    return digest.hexdigest()


def _calibration(weights: Weights, size: tuple[int, int]) -> Calibration:
    from mobilenet_hub.weights.storage.calibrations import load_calibration

    return load_calibration(weights, size)
