"""How an ONNX graph runs on images: fast on all cores, in the lowest latency for one image, safely.

A `Runner` holds the compiled forms of one graph and knows nothing of MobileNets. Shapes are static
in every compiled form, which is worth up to 1.5× in OpenVINO: one form for single images on all
threads (latency), one for micro-batches of a few images with one stream per core (throughput). A
large batch is cut into micro-batches, and their results are written in place into the arrays
returned. The last one is padded, so that an image's result does not depend on where in a batch it
stands.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from mobilenet_hub.errors import EngineError
from mobilenet_hub.runtime import openvino
from mobilenet_hub.runtime.contracts import (
    Check,
    Engine,
    GraphSpec,
    Images,
    Model,
    Outputs,
    Session,
)
from mobilenet_hub.runtime.onnxruntime import ONNXRuntimeEngine
from mobilenet_hub.settings import Compute, EngineName, Precision

__all__ = [
    "Engine",
    "EngineName",
    "GraphSpec",
    "Precision",
    "Runner",
    "Session",
    "available_threads",
    "make_engine",
    "micro_batch_of",
]

# Activations of a micro-batch should fit a core's cache: measured on AVX-512 cores with 1 MB of L2,
# one image of 224×224 at a time is fastest, four of 128×128, eight of 96×96 (benchmarks/README.md).
_MICRO_BATCH_PIXELS = 8 * 96 * 96
_MAX_MICRO_BATCH = 8
_INT8_TIMES = 3  # bytes are smaller: four of 224×224, 16 of 96×96
_BY_DEFAULT = Compute()
_COMPILED_FORMS = 8  # per Runner; variable-size networks may be called with many sizes


def available_threads() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_engine(compute: Compute = _BY_DEFAULT) -> Engine:
    """An engine by its settings.

    Args:
        compute: `engine`: `openvino`, or `onnxruntime` (extra `[onnxruntime]`); `precision`:
            `float32`, `bf16` (OpenVINO on CPUs that have it), or `int8`, of graphs that are
            quantized, on CPUs; `threads`: how many cores to use, all that the process may use by
            default; `providers`: of ONNX Runtime, most wanted first: the way to CUDA, CoreML and
            DirectML.

    Raises:
        EngineError: unknown engine, precision or provider; `bf16` on a CPU that has it not, where
            OpenVINO would compute in float32 and say nothing.
        MissingExtraError: the engine is not installed.
    """
    name, precision, providers = compute.engine, compute.precision, compute.providers
    threads = available_threads() if compute.threads is None else compute.threads
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise EngineError(f"threads must be a whole number, at least 1. Received: {threads!r}")
    if precision not in get_args(Precision):
        raise EngineError(
            f"precision must be one of {get_args(Precision)}. Received: {precision!r}"
        )
    if name == "openvino":
        if precision == "bf16" and "BF16" not in openvino.capabilities():
            raise EngineError(
                "this CPU has no bfloat16: use precision float32 or int8. Received: "
                "precision 'bf16'"
            )
        return openvino.OpenVINOEngine(precision, threads)
    if name == "onnxruntime":
        if precision == "bf16":
            raise EngineError("engine 'onnxruntime' runs in float32 and int8. Received: 'bf16'")
        if isinstance(providers, str) or not providers:
            raise EngineError(f"providers must be a list of names. Received: {providers!r}")
        if precision == "int8" and tuple(providers) != ("CPUExecutionProvider",):
            raise EngineError(f"precision 'int8' runs on CPUs only. Received: {providers!r}")
        return ONNXRuntimeEngine(precision, tuple(providers), threads)
    raise EngineError(f"engine must be one of {get_args(EngineName)}. Received: {name!r}")


def micro_batch_of(height: int, width: int, precision: Precision = "float32") -> int:
    """How many images of a size are computed at a time where there are many."""
    times = _INT8_TIMES if precision == "int8" else 1
    most = _MAX_MICRO_BATCH * (1 if times == 1 else 2)
    return max(1, min(most, times * _MICRO_BATCH_PIXELS // (height * width)))


class Runner:
    """Runs one graph, in whatever forms it is asked for; safe to call from several threads.

    Args:
        build: makes the model of a form.
        engine: what runs it.
    """

    def __init__(self, build: Callable[[GraphSpec], Model], engine: Engine) -> None:
        self._build = build
        self._engine = engine
        self._sessions: OrderedDict[tuple[GraphSpec, int | None], Session] = OrderedDict()
        self._lock = threading.Lock()
        _runners.add(self)

    def __call__(
        self,
        images: Images,
        endpoints: tuple[str, ...] = (),
        *,
        throughput: bool | None = None,
        check: Check | None = None,
    ) -> Outputs:
        """Run the graph.

        Args:
            images: C-contiguous uint8 or float32 [batch, height, width, 3]; batch at least 1.
            endpoints: outputs wanted beside `default`.
            throughput: force one of the two forms; by default a single image takes the latency
                path. Results of the two may differ in the last bits.
            check: see `Check`.

        Returns:
            Output name to array; `default` first.
        """
        batch, height, width, _ = images.shape
        dtype: Literal["uint8", "float32"] = "uint8" if images.dtype == np.uint8 else "float32"
        spec = GraphSpec(dtype, height, width, endpoints)
        many = batch > 1 if throughput is None else throughput
        session = self.session(spec, throughput=many)
        outputs = session.outputs(batch)
        whole = batch - batch % session.micro_batch
        if whole:
            session.run(images[:whole], {k: v[:whole] for k, v in outputs.items()}, check)
        if whole < batch:
            if check is not None:
                check(images[whole:], whole)
            padded = np.zeros((session.micro_batch, *images.shape[1:]), images.dtype)
            padded[: batch - whole] = images[whole:]
            spare = session.outputs(session.micro_batch)
            session.run(padded, spare)
            for name, value in outputs.items():
                value[whole:] = spare[name][: batch - whole]
        return outputs

    def session(self, spec: GraphSpec, *, throughput: bool) -> Session:
        """The compiled form for micro-batches (see `micro_batch_of`), or for single images."""
        size = None
        if throughput:
            size = micro_batch_of(spec.height, spec.width, self._engine.precision)
        with self._lock:  # compiling under the lock: callers of the same form wait, not compile too
            session = self._sessions.get((spec, size))
            if session is None:
                session = self._engine.compile(self._build(spec), spec, micro_batch=size)
                self._sessions[spec, size] = session
                if len(self._sessions) > _COMPILED_FORMS:
                    self._sessions.popitem(last=False)
            self._sessions.move_to_end((spec, size))
            return session

    def _forget(self) -> None:
        _abandoned.append(self._sessions)  # to destroy them would wait for their threads for ever
        self._sessions = OrderedDict()
        self._lock = threading.Lock()


_abandoned: list[object] = []
_runners: weakref.WeakSet[Runner] = weakref.WeakSet()


def _forget_all() -> None:
    """In a forked child: sessions came without their threads, and locks perhaps held."""
    openvino.after_fork_in_child()
    for runner in _runners:
        runner._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=openvino.before_fork,
        after_in_parent=openvino.after_fork_in_parent,
        after_in_child=_forget_all,
    )
