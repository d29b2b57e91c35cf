"""OpenVINO: the default engine on CPUs."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from mobilenet_hub.runtime.contracts import Check, GraphSpec, Images, Outputs
from mobilenet_hub.settings import Precision

_TELEMETRY = ("openvino_telemetry", "openvino_telemetry.backend")
_import_lock = threading.Lock()
_abandoned: list[Any] = []


class OpenVINOEngine:
    """OpenVINO on the CPU."""

    def __init__(self, precision: Precision, threads: int) -> None:
        self._config: dict[str, str] = {
            "INFERENCE_PRECISION_HINT": "f32" if precision == "float32" else "bf16",
            "INFERENCE_NUM_THREADS": str(threads),
        }
        self._threads = threads

    def compile(self, model: bytes, spec: GraphSpec, *, tile: int | None) -> OpenVINOSession:
        """Compile with static shapes: one stream on all threads, or one stream per thread.

        For a single thread, that is the one which calls: nothing is handed over, which is worth a
        fifth where many callers each bring a thread and a compiled form of their own.
        """
        core = _core()
        graph = core.read_model(model)
        graph.reshape([tile or 1, spec.height, spec.width, 3])
        streams = self._threads if tile is not None else 1
        config = {**self._config, "NUM_STREAMS": str(streams)}
        if tile is None:
            config["PERFORMANCE_HINT"] = "LATENCY"
        in_caller = self._threads == 1
        if in_caller:
            config["ENABLE_CPU_PINNING"] = "NO"
        compiled = core.compile_model(graph, "CPU", config)
        return OpenVINOSession(compiled, tile or 1, streams, in_caller=in_caller)


@cache
def _core() -> Any:
    """The process's one OpenVINO core (its plugins load once)."""
    return import_openvino().Core()


def forget_core() -> None:
    """Make the next compilation start OpenVINO anew: its threads do not survive a fork."""
    global _import_lock
    if _core.cache_info().currsize:
        _abandoned.append(_core())  # to destroy it would wait for its threads for ever
    _core.cache_clear()
    _import_lock = threading.Lock()


def import_openvino() -> Any:
    """OpenVINO without its telemetry.

    Importing OpenVINO imports its model converter, which reports the import to Google Analytics
    from a process of its own, asks nobody, and leaves an identifier in the home directory. The
    converter has a stub for where the telemetry package is not installed; so it is hidden from it.
    """
    with _import_lock:
        if "openvino" not in sys.modules:
            hidden = {name: sys.modules.get(name) for name in _TELEMETRY}
            sys.modules.update(dict.fromkeys(_TELEMETRY))  # type: ignore[arg-type]  # None: absent
            try:
                import openvino
            finally:
                for name, module in hidden.items():
                    if module is None:
                        del sys.modules[name]
                    else:
                        sys.modules[name] = module
        import openvino

        return openvino


class OpenVINOSession:
    """A compiled OpenVINO model with a pool of inference requests.

    Args:
        compiled: the model.
        tile: images a request takes.
        streams: requests that are computed at once.
        in_caller: whether to compute in the thread that calls `run`.
    """

    def __init__(self, compiled: Any, tile: int, streams: int, *, in_caller: bool = False) -> None:
        self.tile = tile
        self._in_caller = in_caller
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

    def run(self, images: Images, outputs: Outputs, check: Check | None = None) -> None:
        """Keep several requests busy with tiles until all are done."""
        tensor = import_openvino().Tensor
        tiles = range(0, len(images), self.tile)
        shared = images.flags.writeable  # OpenVINO borrows no read-only memory: those are copied
        with self._borrow(min(self.in_flight, len(tiles))) as requests:
            for turn, start in enumerate(tiles):
                part = slice(start, start + self.tile)
                if check is not None:
                    check(images[part], start)
                request = requests[turn % len(requests)]
                request.wait()
                request.set_input_tensor(tensor(images[part], shared_memory=shared))
                for index, name in enumerate(self._names):
                    request.set_output_tensor(
                        index, tensor(outputs[name][part], shared_memory=True)
                    )
                if self._in_caller:
                    request.infer()
                else:
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
