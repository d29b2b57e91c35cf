"""OpenVINO: the default engine on CPUs."""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from io import BytesIO
from itertools import cycle
from typing import Any
from weakref import WeakSet

import numpy as np

from mobilenet_hub.runtime.compiled_cache import keeps, read_compiled, write_compiled
from mobilenet_hub.runtime.contracts import Check, GraphSpec, Images, LazyModel, Model, Outputs
from mobilenet_hub.runtime.cpu import cpu_flags, cpu_name
from mobilenet_hub.settings import Precision

_CONVERTER = "openvino.tools.ovc"
_SHARED_BYTES = 4096  # constants of so many are not copied
_import_lock = threading.Lock()
_abandoned: list[Any] = []

# Compiled graphs that this process leaves to others, by what decides them, and who writes them. A
# program that computes images of hundreds of sizes leaves a few.
_MOST_KEPT = 8
_keepers: dict[str, threading.Thread] = {}

# OpenVINO keeps the threads of a compiled model that is gone, for the next one of its
# configuration. No thread survives a fork, and a child that is given such ones waits for ever. So
# before a fork, placeholders take what is idle, and the child never lets go of them.
_Config = frozenset[tuple[str, str]]
_live: dict[_Config, WeakSet[OpenVINOSession]] = {}
_most: dict[_Config, int] = {}  # of them at once: as many have threads
_placeholders: list[Any] = []


class OpenVINOEngine:
    """OpenVINO on the CPU."""

    def __init__(self, precision: Precision, threads: int) -> None:
        self.precision: Precision = precision
        self._config: dict[str, str] = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": str(threads),
        }
        self._threads = threads

    def compile(self, model: Model, spec: GraphSpec, *, micro_batch: int | None) -> OpenVINOSession:
        """Compile with static shapes: one stream on all threads, or one stream per thread.

        A single thread is the one which calls: nothing is handed over, which is worth a fifth where
        many callers each bring a thread and a compiled form of their own.
        """
        streams = self._threads if micro_batch is not None else 1
        config = {**self._config, "NUM_STREAMS": str(streams)}
        if micro_batch is None:
            config["PERFORMANCE_HINT"] = "LATENCY"
        in_caller = self._threads == 1
        if in_caller:
            config["ENABLE_CPU_PINNING"] = "NO"
        made = _made(model, micro_batch or 1, config)
        compiled = kept = None if made is None else _imported(made, config)
        if compiled is None:
            compiled = _core().compile_model(_read(model, micro_batch or 1), "CPU", config)
        session = OpenVINOSession(compiled, micro_batch or 1, streams, in_caller=in_caller)
        key = frozenset(config.items())
        live = _live.setdefault(key, WeakSet())
        live.add(session)
        _most[key] = max(_most.get(key, 0), len(live))
        if made is not None and kept is None:
            _keep(made, compiled)
        return session


@cache
def _core() -> Any:
    """The process's one OpenVINO core (its plugins load once)."""
    return import_openvino().Core()


def capabilities() -> tuple[str, ...]:
    """What OpenVINO says that this CPU computes in: `FP32`, `BF16`, `INT8` and others."""
    return tuple(_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def _read(model: Model, batch: int) -> Any:
    """A model as OpenVINO's, its large constants where they lie in memory.

    Through the bytes of a model they would be copied four times.
    """
    large = {
        name: np.require(value, requirements=["C", "W"])  # a view of read-only memory is refused
        for name, value in model.constants.items()
        if value.nbytes >= _SHARED_BYTES
    }
    graph = _core().read_model(model.to_bytes(batch=batch, given=large))
    for parameter in graph.get_parameters():
        if (name := parameter.friendly_name) in large:
            constant = import_openvino().op.Constant(large[name], shared_memory=True)
            constant.friendly_name = name
            parameter.output(0).replace(constant.output(0))
            graph.remove_parameter(parameter)
    return graph


def _made(model: Model, batch: int, config: dict[str, str]) -> str | None:
    """All that decides a compiled graph, in JSON; None where that is not known, or none is kept."""
    if not isinstance(model, LazyModel) or not keeps():
        return None
    decides = {
        "model": dict(model.made), "batch": batch, "config": config, "cpu": cpu_name(),
        "flags": sorted(cpu_flags()), "openvino": import_openvino().get_version(),
    }  # fmt: skip
    return json.dumps(decides, sort_keys=True)


def _imported(made: str, config: dict[str, str]) -> Any | None:
    """The compiled graph that another process left; None where there is none that can be used."""
    openvino = import_openvino()
    # OpenVINO computes with the weights where they lie in this memory, and keeps it itself.
    exported = read_compiled(made, lambda size: openvino.Tensor(openvino.Type.u8, [size]))
    try:
        return None if exported is None else _core().import_model(exported, "CPU", config)
    except RuntimeError:  # it will be compiled, and take this one's place
        return None


def _keep(made: str, compiled: Any) -> None:
    """Leave a compiled graph to other processes, from a thread: a first result does not wait."""

    def write() -> None:
        stream = BytesIO()
        compiled.export_model(stream)
        write_compiled(made, stream.getbuffer())

    if made not in _keepers and len(_keepers) < _MOST_KEPT:
        _keepers[made] = threading.Thread(target=write, name="mobilenet-hub-keeper")
        _keepers[made].start()


def before_fork() -> None:
    """Leave no idle threads to a child, nor the locks of one that is at work."""
    for keeper in list(_keepers.values()):
        keeper.join()
    for config, most in _most.items():
        for _ in range(most - len(_live[config])):
            opset = import_openvino().opset8
            pixel = opset.parameter([1], np.float32)
            model = import_openvino().Model([opset.relu(pixel)], [pixel])
            _placeholders.append(_core().compile_model(model, "CPU", dict(config)))


def after_fork_in_parent() -> None:
    """Here, the idle threads can be used again."""
    _placeholders.clear()


def after_fork_in_child() -> None:
    """Make the next compilation start OpenVINO anew: its threads do not survive a fork."""
    global _import_lock
    if _core.cache_info().currsize:  # to destroy them would wait for their threads for ever
        _abandoned.extend((_core(), *_placeholders))
    for forgotten in (_placeholders, _live, _most, _keepers):
        forgotten.clear()
    _core.cache_clear()
    _import_lock = threading.Lock()


def import_openvino() -> Any:
    """OpenVINO without its model converter, which is imported when somebody calls it.

    Importing OpenVINO imports the converter, which takes 0.04 s, reports the import to Google
    Analytics from a process of its own, asks nobody, and leaves an identifier in the home
    directory. OpenVINO does without where the converter cannot be imported; so it is hidden.
    """
    with _import_lock:
        if "openvino" not in sys.modules:
            sys.modules[_CONVERTER] = None  # type: ignore[assignment]  # importing it fails
            try:
                import openvino
            finally:
                del sys.modules[_CONVERTER]
            openvino.convert_model = _convert_model
        import openvino

        return openvino


def _convert_model(*arguments: Any, **options: Any) -> Any:
    """`openvino.convert_model`, for other code of this process."""
    return import_module(_CONVERTER).convert_model(*arguments, **options)


# Micro-batches under way for each stream. While the thread that hands them out waits for a core
# that others use too, the streams need something to go on with: with two, a busy machine took
# 1.07 times as long at 96×96, and with eight no less.
_IN_FLIGHT = 4


class OpenVINOSession:
    """A compiled OpenVINO model with a pool of inference requests.

    Args:
        compiled: the model.
        micro_batch: images a request takes.
        streams: requests that are computed at once.
        in_caller: whether to compute in the thread that calls `run`.
    """

    def __init__(
        self, compiled: Any, micro_batch: int, streams: int, *, in_caller: bool = False
    ) -> None:
        self.micro_batch = micro_batch
        self._in_flight = _IN_FLIGHT * streams
        self._in_caller = in_caller
        self._names = [port.get_any_name() for port in compiled.outputs]
        self._shapes = [tuple(port.shape)[1:] for port in compiled.outputs]
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(self._in_flight + 2 * streams):  # one large call leaves some to others
            self._idle.put(compiled.create_infer_request())

    def outputs(self, batch: int) -> Outputs:
        """Uninitialised arrays."""
        return {
            name: np.empty((batch, *shape), np.float32)
            for name, shape in zip(self._names, self._shapes, strict=True)
        }

    def run(self, images: Images, outputs: Outputs, check: Check | None = None) -> None:
        """Keep several requests busy with micro-batches until all are done."""
        tensor = import_openvino().Tensor
        starts = range(0, len(images), self.micro_batch)
        in_place = images.flags.writeable  # OpenVINO copies what is read-only
        with self._requests(min(self._in_flight, len(starts))) as requests:
            for request, start in zip(cycle(requests), starts, strict=False):
                part = slice(start, start + self.micro_batch)
                if check is not None:
                    check(images[part], start)
                request.wait()
                request.set_input_tensor(tensor(images[part], shared_memory=in_place))
                for index, name in enumerate(self._names):
                    result = tensor(outputs[name][part], shared_memory=True)
                    request.set_output_tensor(index, result)
                if self._in_caller:
                    request.infer()
                else:
                    request.start_async()

    @contextmanager
    def _requests(self, wanted: int) -> Iterator[list[Any]]:
        """One to `wanted` requests: waits for the first, takes more only if they are idle."""
        requests = [self._idle.get()]
        try:
            while len(requests) < wanted:
                try:
                    requests.append(self._idle.get_nowait())
                except queue.Empty:
                    break
            yield requests
        finally:
            try:
                for request in requests:
                    request.wait()  # the arrays are the caller's again only now
            finally:
                for request in requests:
                    self._idle.put(request)
