"""ONNX Runtime: the second engine on CPUs, and the way to CUDA, CoreML and DirectML."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from mobilenet_hub.errors import EngineError, MissingExtraError
from mobilenet_hub.runtime.contracts import Check, GraphSpec, Images, Model, Outputs
from mobilenet_hub.settings import Precision


class ONNXRuntimeEngine:
    """ONNX Runtime: the second engine on CPUs, and the way to GPUs."""

    def __init__(self, precision: Precision, providers: tuple[str, ...], threads: int) -> None:
        self.precision: Precision = precision
        onnxruntime = import_onnxruntime()
        unknown = [p for p in providers if p not in onnxruntime.get_available_providers()]
        if unknown:
            raise EngineError(
                "providers must be among those of the installed ONNX Runtime build: "
                f"{onnxruntime.get_available_providers()}. Received: {list(providers)}"
            )
        self._providers = list(providers)
        self._threads = threads

    def compile(
        self, model: Model, spec: GraphSpec, *, micro_batch: int | None
    ) -> ONNXRuntimeSession:
        """One session; for throughput on a CPU, one thread a call and as many calls as cores."""
        onnxruntime = import_onnxruntime()
        on_cpu = self._providers[0] == "CPUExecutionProvider"
        parallel = self._threads if micro_batch is not None and on_cpu else 1
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, self._threads // parallel)
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if parallel > 1:  # spinning threads of one call would take cores from the others
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(model.to_bytes(), options, providers=self._providers)
        size = micro_batch or 1
        return ONNXRuntimeSession(session, spec, size if on_cpu else 32 * size, parallel)


def import_onnxruntime() -> Any:
    """ONNX Runtime without its telemetry.

    Since 2026 it reports processes, sessions and models to Microsoft from its import on, and leaves
    an identifier in the home directory, unless this variable is set before (its `Privacy.md`).

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "engine='onnxruntime'") from error
    return onnxruntime


class ONNXRuntimeSession:
    """An ONNX Runtime session and the threads that call it."""

    def __init__(self, session: Any, spec: GraphSpec, micro_batch: int, parallel: int) -> None:
        self.micro_batch = micro_batch
        self._parallel = parallel
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

    def run(self, images: Images, outputs: Outputs, check: Check | None = None) -> None:
        """Run the micro-batches, on several threads if the session was compiled for that."""
        from concurrent.futures import ThreadPoolExecutor

        def one(start: int) -> None:
            part = slice(start, start + self.micro_batch)
            if check is not None:
                check(images[part], start)
            results = self._session.run(self._names, {self._input: images[part]})
            for name, value in zip(self._names, results, strict=True):
                outputs[name][part] = value

        starts = range(0, len(images), self.micro_batch)
        if len(starts) == 1 or self._parallel == 1:
            for start in starts:
                one(start)
            return
        with ThreadPoolExecutor(self._parallel) as pool:
            for _ in pool.map(one, starts):
                pass
