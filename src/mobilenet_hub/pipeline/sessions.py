"""Workers: where images are decoded and computed, one for each core.

A worker is a compiled network of its own that computes in the thread which calls it, and a buffer
for the pixels of some images. A thread takes a worker, decodes into its buffer, computes, and gives
it back; so there is no handing over between threads, and never more threads at work than cores.
Measured on 2 cores, that reaches 0.95 of the bound (benchmarks/embed.py); threads that share one
network with a stream for each reach 0.7 to 0.9. The price is the memory of a compiled network for
each core, 10 to 50 MB. A worker's network is compiled while its first images are decoded.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.catalog import Task
from mobilenet_hub.inference import InferenceModule, graph_of
from mobilenet_hub.runtime import GraphSpec, Session, make_engine, micro_batch_of
from mobilenet_hub.runtime.contracts import Outputs
from mobilenet_hub.settings import Settings
from mobilenet_hub.weights.canonical import Weights

LOGITS = "default"

# Images decoded before they are computed: the more, the longer code and weights stay in the cache;
# but their pixels must too. Measured: 16 of 224×224 and 64 of 96×96.
_BUFFER_BYTES = 16 * 224 * 224 * 3
_BUFFER_IMAGES = 64


class Worker:
    """A session, and a buffer for pixels, which can be filled while the session is made.

    Args:
        make_session: makes it, in a thread of its own; it computes in the thread that calls it.
        spec: of the session's input.
        images: how many the buffer holds: whole micro-batches.

    Attributes:
        pixels: [images, height, width, 3]; holds whatever was put there last.
    """

    def __init__(self, make_session: Callable[[], Session], spec: GraphSpec, images: int) -> None:
        pool = ThreadPoolExecutor(1, thread_name_prefix="mobilenet-hub-compile")
        self._made = pool.submit(make_session)
        pool.shutdown(wait=False)
        shape = (images, spec.height, spec.width, 3)
        self.pixels: NDArray[Any] = np.zeros(shape, spec.input_dtype)

    @property
    def _session(self) -> Session:
        """The session, once it is made; or the error that it could not be made for."""
        return self._made.result()

    def outputs(self, images: int) -> Outputs:
        """Uninitialised arrays with room for the results of at least so many images.

        Waits for the session to be made.
        """
        return self._session.outputs(_whole(images, self._session.micro_batch))

    def run(self, images: int, outputs: Outputs, start: int) -> None:
        """Compute the first images in `pixels`; results go to `outputs` from row `start` on.

        The rest of the last micro-batch is computed too, from older pixels, and never looked at.
        """
        images = _whole(images, self._session.micro_batch)
        rows = slice(start, start + images)
        self._session.run(
            self.pixels[:images], {name: value[rows] for name, value in outputs.items()}
        )


def _whole(images: int, micro_batch: int) -> int:
    return -(-images // micro_batch) * micro_batch


class Workers:
    """A pool of workers; each is made when all others are taken, up to a limit.

    Args:
        make_session: compiles the network for one thread.
        spec: of its input.
        micro_batch: how many images its sessions take.
        limit: the greatest number of workers.

    Attributes:
        buffer_images: how many images the buffer of each holds.
    """

    def __init__(
        self, make_session: Callable[[], Session], spec: GraphSpec, micro_batch: int, limit: int
    ) -> None:
        self._make_session = make_session
        self._spec = spec
        images = min(_BUFFER_IMAGES, _BUFFER_BYTES // (3 * spec.height * spec.width))
        self.buffer_images = max(micro_batch, images - images % micro_batch)
        self._left = limit
        self._lock = threading.Lock()
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()  # the last used is in the cache

    @contextmanager
    def one(self) -> Iterator[Worker]:
        """A worker for this thread alone; waits for one where all are taken."""
        try:
            worker = self._idle.get_nowait()
        except queue.Empty:
            with self._lock:
                may_make = self._left > 0
                self._left -= may_make
            if may_make:
                worker = Worker(self._make_session, self._spec, self.buffer_images)
            else:
                worker = self._idle.get()
        try:
            yield worker
        finally:
            self._idle.put(worker)


# A module's workers are kept as long as it is, so that many small calls compile once.
_pools: WeakKeyDictionary[InferenceModule, dict[Any, tuple[Weights, Workers]]] = WeakKeyDictionary()
_pools_lock = threading.Lock()


def workers_of(module: InferenceModule, settings: Settings, limit: int) -> Workers:
    """The workers of a module, made when first asked for.

    Their output is `default`; where features and labels both are wanted, that is the logits, and
    the features are `features` beside it.

    Args:
        module: what they compute.
        settings: what is wanted, and of which pixels.
        limit: the greatest number of workers.
    """
    preprocessing = settings.preprocessing
    dtype: Any = preprocessing.dtype.name
    spec = GraphSpec(dtype, preprocessing.height, preprocessing.width)
    features, logits = settings.features or settings.reject, settings.labels > 0
    key = (spec, features, logits, limit)
    weights = module.current_weights()  # another object after training
    with _pools_lock:
        pools = _pools.setdefault(module, {})
        if key not in pools or pools[key][0] is not weights:
            micro_batch = micro_batch_of(spec.height, spec.width, module.compute.precision)
            task: Task = "classification" if logits else "feature_vector"
            graph = graph_of(
                weights, module.compute.precision, task, spec, features=features and logits
            )
            # What a single thread computes is computed in the one that calls.
            engine = make_engine(replace(module.compute, threads=1))
            make_session = partial(engine.compile, graph, spec, micro_batch=micro_batch)
            pools[key] = weights, Workers(make_session, spec, micro_batch, limit)
        return pools[key][1]
