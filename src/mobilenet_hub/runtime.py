"""How an ONNX graph runs on images: fast on all cores, in the lowest latency for one image, safely.

A `Runner` holds the compiled forms of one graph and knows nothing of MobileNets. Shapes are static
in every compiled form, which is worth up to 1.5× in OpenVINO: one form for single images on all
threads (latency), one for tiles of a few images with one stream per core (throughput). A large
batch is cut into such tiles, and their results are written in place into the arrays returned. The
last tile is padded, so that an image's result does not depend on where in a batch it stands.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import EngineError, MissingExtraError

EngineName = Literal["openvino", "onnxruntime"]
Precision = Literal["float32", "bf16"]
Images = NDArray[np.uint8] | NDArray[np.float32]
Outputs = dict[str, NDArray[np.float32]]

# Activations of a tile should fit a core's cache: measured on AVX-512 cores with 1 MB of L2, one
# image of 224×224 a tile is fastest, four of 128×128, eight of 96×96 (benchmarks/README.md).
_TILE_PIXELS = 8 * 96 * 96
_MAX_TILE = 8
_COMPILED_FORMS = 8  # per Runner; variable-size networks may be called with many sizes


@dataclass(frozen=True, slots=True)
class GraphSpec:
    """Which form of a graph is wanted: its input, and the outputs beside `default`."""

    input_dtype: Literal["uint8", "float32"]
    height: int
    width: int
    endpoints: tuple[str, ...] = ()

    @property
    def tile(self) -> int:
        """How many images a throughput tile holds."""
        return max(1, min(_MAX_TILE, _TILE_PIXELS // (self.height * self.width)))


class Session(Protocol):
    """A graph compiled for tiles of a fixed number of images; `submit` calls may overlap."""

    tile: int
    in_flight: int

    def outputs(self, batch: int) -> Outputs:
        """Uninitialised output arrays for a batch, by output name."""

    def run(self, images: Images, outputs: Outputs) -> None:
        """Compute all images [n, height, width, 3] into `outputs`; n is a multiple of `tile`."""


class Engine(Protocol):
    """Something that compiles ONNX models."""

    def compile(self, model: bytes, spec: GraphSpec, *, tile: int | None) -> Session:
        """Compile for throughput with tiles of that size, or for single images if None."""


def available_threads() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_engine(
    name: EngineName = "openvino",
    *,
    precision: Precision = "float32",
    threads: int | None = None,
    providers: tuple[str, ...] = ("CPUExecutionProvider",),
) -> Engine:
    """An engine by name.

    Args:
        name: `openvino`, or `onnxruntime` (extra `[onnxruntime]`).
        precision: `float32`, or `bf16` (OpenVINO on CPUs that have it).
        threads: how many cores to use; all that the process may use by default.
        providers: of ONNX Runtime, most wanted first: the way to CUDA, CoreML and DirectML.

    Raises:
        EngineError: unknown engine, precision or provider.
        MissingExtraError: the engine is not installed.
    """
    threads = available_threads() if threads is None else threads
    if threads < 1:
        raise EngineError(f"threads must be at least 1. Received: {threads}")
    if precision not in get_args(Precision):
        raise EngineError(f"precision must be 'float32' or 'bf16'. Received: {precision!r}")
    if name == "openvino":
        return OpenVINOEngine(precision, threads)
    if name == "onnxruntime":
        if precision != "float32":
            raise EngineError(f"engine 'onnxruntime' runs in float32 only. Received: {precision!r}")
        return ONNXRuntimeEngine(providers, threads)
    raise EngineError(f"engine must be one of {get_args(EngineName)}. Received: {name!r}")


class Runner:
    """Runs one graph, in whatever forms it is asked for; safe to call from several threads.

    Args:
        build: makes the ONNX model of a form, with a dynamic batch.
        engine: what runs it.
    """

    def __init__(self, build: Callable[[GraphSpec], bytes], engine: Engine) -> None:
        self._build = build
        self._engine = engine
        self._sessions: OrderedDict[tuple[GraphSpec, int | None], Session] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(
        self, images: Images, endpoints: tuple[str, ...] = (), *, throughput: bool | None = None
    ) -> Outputs:
        """Run the graph.

        Args:
            images: C-contiguous uint8 or float32 [batch, height, width, 3]; batch at least 1.
            endpoints: outputs wanted beside `default`.
            throughput: force one of the two forms; by default a single image takes the latency
                path. Results of the two may differ in the last bits.

        Returns:
            Output name to array; `default` first.
        """
        batch, height, width, _ = images.shape
        dtype: Literal["uint8", "float32"] = "uint8" if images.dtype == np.uint8 else "float32"
        spec = GraphSpec(dtype, height, width, endpoints)
        many = batch > 1 if throughput is None else throughput
        session = self.session(spec, throughput=many)
        outputs = session.outputs(batch)
        whole = batch - batch % session.tile
        if whole:
            session.run(images[:whole], {k: v[:whole] for k, v in outputs.items()})
        if whole < batch:
            padded = np.zeros((session.tile, *images.shape[1:]), images.dtype)
            padded[: batch - whole] = images[whole:]
            spare = session.outputs(session.tile)
            session.run(padded, spare)
            for name, value in outputs.items():
                value[whole:] = spare[name][: batch - whole]
        return outputs

    def session(self, spec: GraphSpec, *, throughput: bool) -> Session:
        """The compiled form for tiles of `spec.tile` images, or for single ones."""
        tile = spec.tile if throughput else None
        with self._lock:  # compiling under the lock: callers of the same form wait, not compile too
            session = self._sessions.get((spec, tile))
            if session is None:
                session = self._engine.compile(self._build(spec), spec, tile=tile)
                self._sessions[spec, tile] = session
                if len(self._sessions) > _COMPILED_FORMS:
                    self._sessions.popitem(last=False)
            self._sessions.move_to_end((spec, tile))
            return session


class OpenVINOEngine:
    """OpenVINO on the CPU."""

    def __init__(self, precision: Precision, threads: int) -> None:
        self._config: dict[str, str] = {
            "INFERENCE_PRECISION_HINT": "f32" if precision == "float32" else "bf16",
            "INFERENCE_NUM_THREADS": str(threads),
        }
        self._threads = threads

    def compile(self, model: bytes, spec: GraphSpec, *, tile: int | None) -> OpenVINOSession:
        """Compile with static shapes: one stream on all threads, or one stream per thread."""
        core = _openvino_core()
        graph = core.read_model(model)
        graph.reshape([tile or 1, spec.height, spec.width, 3])
        streams = self._threads if tile is not None else 1
        config = {**self._config, "NUM_STREAMS": str(streams)}
        if tile is None:
            config["PERFORMANCE_HINT"] = "LATENCY"
        return OpenVINOSession(core.compile_model(graph, "CPU", config), tile or 1, streams)


_core_lock = threading.Lock()
_core: Any = None


def _openvino_core() -> Any:
    """The process's one OpenVINO core (its plugins load once)."""
    global _core
    with _core_lock:
        if _core is None:
            import openvino

            _core = openvino.Core()
        return _core


class OpenVINOSession:
    """A compiled OpenVINO model with a pool of inference requests."""

    def __init__(self, compiled: Any, tile: int, streams: int) -> None:
        self.tile = tile
        self.in_flight = 2 * streams  # the next tile waits at the stream, not in Python
        self._names = [port.get_any_name() for port in compiled.outputs]
        self._shapes = [tuple(port.shape)[1:] for port in compiled.outputs]
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(2 * self.in_flight):  # so that one large call does not shut out others
            self._requests.put(compiled.create_infer_request())

    def outputs(self, batch: int) -> Outputs:
        """Uninitialised arrays."""
        return {
            name: np.empty((batch, *shape), np.float32)
            for name, shape in zip(self._names, self._shapes, strict=True)
        }

    def run(self, images: Images, outputs: Outputs) -> None:
        """Keep several requests busy with tiles until all are done."""
        from openvino import Tensor

        tiles = range(0, len(images), self.tile)
        shared = images.flags.writeable  # OpenVINO borrows no read-only memory: those are copied
        with self._borrow(min(self.in_flight, len(tiles))) as requests:
            for turn, start in enumerate(tiles):
                request = requests[turn % len(requests)]
                request.wait()
                part = slice(start, start + self.tile)
                request.set_input_tensor(Tensor(images[part], shared_memory=shared))
                for index, name in enumerate(self._names):
                    request.set_output_tensor(
                        index, Tensor(outputs[name][part], shared_memory=True)
                    )
                request.start_async()

    @contextmanager
    def _borrow(self, wanted: int) -> Iterator[list[Any]]:
        """One to `wanted` requests: waits for the first, takes more only if they are free."""
        requests = [self._requests.get()]
        try:
            while len(requests) < wanted:
                try:
                    requests.append(self._requests.get_nowait())
                except queue.Empty:
                    break
            yield requests
        finally:
            try:
                for request in requests:
                    request.wait()  # the arrays are the caller's again only now
            finally:
                for request in requests:
                    self._requests.put(request)


class ONNXRuntimeEngine:
    """ONNX Runtime: the second engine on CPUs, and the way to GPUs."""

    def __init__(self, providers: tuple[str, ...], threads: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError("onnxruntime", "engine='onnxruntime'") from error
        unknown = [p for p in providers if p not in onnxruntime.get_available_providers()]
        if unknown:
            raise EngineError(
                "providers must be among those of the installed ONNX Runtime build: "
                f"{onnxruntime.get_available_providers()}. Received: {list(providers)}"
            )
        self._providers = list(providers)
        self._threads = threads

    def compile(self, model: bytes, spec: GraphSpec, *, tile: int | None) -> ONNXRuntimeSession:
        """One session; for throughput on a CPU, one thread a call and as many calls as cores."""
        import onnxruntime

        on_cpu = self._providers[0] == "CPUExecutionProvider"
        parallel = self._threads if tile is not None and on_cpu else 1
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, self._threads // parallel)
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if parallel > 1:  # spinning threads of one call would take cores from the others
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(model, options, providers=self._providers)
        size = tile or 1
        return ONNXRuntimeSession(session, spec, size if on_cpu else 32 * size, parallel)


class ONNXRuntimeSession:
    """An ONNX Runtime session and the threads that call it."""

    def __init__(self, session: Any, spec: GraphSpec, tile: int, parallel: int) -> None:
        self.tile = tile
        self.in_flight = parallel
        self._session = session
        self._names = [output.name for output in session.get_outputs()]
        probe = np.zeros((1, spec.height, spec.width, 3), spec.input_dtype)
        self._input = session.get_inputs()[0].name
        self._shapes = [value.shape[1:] for value in session.run(None, {self._input: probe})]

    def outputs(self, batch: int) -> Outputs:
        """Uninitialised arrays."""
        return {
            name: np.empty((batch, *shape), np.float32)
            for name, shape in zip(self._names, self._shapes, strict=True)
        }

    def run(self, images: Images, outputs: Outputs) -> None:
        """Run the tiles, on several threads if the session was compiled for that."""
        from concurrent.futures import ThreadPoolExecutor

        def one(start: int) -> None:
            part = slice(start, start + self.tile)
            results = self._session.run(self._names, {self._input: images[part]})
            for name, value in zip(self._names, results, strict=True):
                outputs[name][part] = value

        tiles = range(0, len(images), self.tile)
        if len(tiles) == 1 or self.in_flight == 1:
            for start in tiles:
                one(start)
            return
        with ThreadPoolExecutor(self.in_flight) as pool:
            for _ in pool.map(one, tiles):
                pass
