"""Lanes: where images are decoded and computed, one for each core.

A lane is a compiled network of its own that computes in the thread which calls it, and room for the
pixels of some images. A thread takes a lane, decodes into it, computes, and gives it back; so there
is no handing over between threads, and never more threads at work than cores. Measured on 2 cores,
that reaches 0.95 of the bound (benchmarks/embed.py); threads that share one network with a stream
for each reach 0.7 to 0.9. The price is the memory of a compiled network for each core, 10 to 50 MB.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.catalog import Task
from mobilenet_hub.graph import build_graph
from mobilenet_hub.images import Preprocessing
from mobilenet_hub.module import Module
from mobilenet_hub.runtime import GraphSpec, Session
from mobilenet_hub.runtime.contracts import Check, Images, Outputs
from mobilenet_hub.weights.canonical import Weights

FEATURES, LOGITS = "features", "default"

# Images decoded before they are computed: the more, the longer code and weights stay in the cache;
# but their pixels must too. Measured: 16 of 224×224 and 64 of 96×96.
_LANE_BYTES = 16 * 224 * 224 * 3
_LANE_IMAGES = 64


class Lane:
    """A session, and room for pixels.

    Attributes:
        pixels: [images, height, width, 3]; holds whatever was put there last.
    """

    def __init__(self, session: Session, preprocessing: Preprocessing) -> None:
        self._session = session
        images = lane_images(preprocessing, session.tile)
        self.pixels: NDArray[Any] = np.zeros((images, *preprocessing.shape), preprocessing.dtype)

    def outputs(self, images: int) -> Outputs:
        """Uninitialised arrays with room for the results of at least so many images."""
        return self._session.outputs(_whole_tiles(images, self._session.tile))

    def run(self, images: int, outputs: Outputs, start: int) -> None:
        """Compute the first images in `pixels`; results go to `outputs` from row `start` on.

        The last tile's other images are computed too, from older pixels, and nobody looks at them.
        """
        images = _whole_tiles(images, self._session.tile)
        part = slice(start, start + images)
        self._session.run(
            self.pixels[:images], {name: value[part] for name, value in outputs.items()}
        )


def lane_images(preprocessing: Preprocessing, tile: int) -> int:
    """How many images a lane takes at once: whole tiles."""
    images = min(_LANE_IMAGES, _LANE_BYTES // (3 * preprocessing.height * preprocessing.width))
    return max(tile, images - images % tile)


def _whole_tiles(images: int, tile: int) -> int:
    return -(-images // tile) * tile


class Lanes:
    """A pool of lanes; each is made when all others are taken, up to a limit.

    Args:
        make: makes a lane.
        limit: the greatest number of lanes.
    """

    def __init__(self, make: Callable[[], Lane], limit: int) -> None:
        self._make = make
        self._left = limit
        self._lock = threading.Lock()
        self._idle: queue.LifoQueue[Lane] = queue.LifoQueue()  # the last one used is in the cache

    @contextmanager
    def borrow(self) -> Iterator[Lane]:
        """A lane for this thread alone; waits for one where all are taken."""
        lane = self._take()
        try:
            yield lane
        finally:
            self._idle.put(lane)

    def _take(self) -> Lane:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            with self._lock:
                may_make = self._left > 0
                self._left -= may_make
            if not may_make:
                return self._idle.get()
        return self._make()


# A module's lanes are kept as long as it is, so that many small calls compile once.
_pools: WeakKeyDictionary[Module, dict[Any, tuple[Weights, Lanes]]] = WeakKeyDictionary()
_pools_lock = threading.Lock()


def lanes_of(
    module: Module,
    spec: GraphSpec,
    preprocessing: Preprocessing,
    *,
    features: bool,
    logits: bool,
    limit: int,
) -> Lanes:
    """The lanes of a module, made when first asked for.

    Args:
        module: what they compute.
        spec: its input.
        preprocessing: of the same input.
        features: whether there is to be an output of features: `features` beside logits, else
            `default`.
        logits: whether there is to be an output `default` of logits.
        limit: the greatest number of lanes.
    """
    key = (spec, features, logits, limit)
    weights = module.weights  # another object after training
    with _pools_lock:
        pools = _pools.setdefault(module, {})
        if key not in pools or pools[key][0] is not weights:
            make_session = _session_maker(module, weights, spec, features=features, logits=logits)
            pools[key] = weights, Lanes(lambda: Lane(make_session(), preprocessing), limit)
        return pools[key][1]


def _session_maker(
    module: Module, weights: Weights, spec: GraphSpec, *, features: bool, logits: bool
) -> Callable[[], Session]:
    """Compiles for one thread; the graph is built once."""
    from onnx import helper

    task: Task = "classification" if logits else "feature_vector"
    size = (spec.height, spec.width)
    model = build_graph(weights, task, input_dtype=spec.input_dtype, size=size)
    if features and logits:  # inside of the graph they are there already
        channels = weights.network.num_features
        model.graph.output.append(helper.make_tensor_value_info(FEATURES, 1, ["batch", channels]))
    graph = bytes(model.SerializeToString())
    engine = module.engine_for_one_thread()
    return lambda: engine.compile(graph, spec, tile=spec.tile)


class SingleSession:
    """The module's own path for a single image, on all cores, in the form of a session."""

    tile = 1
    in_flight = 1

    def __init__(self, module: Module, task: Task) -> None:
        self._module = module
        self._signature = f"image_{task}"
        network = module.weights.network
        self._width = network.num_features if task == "feature_vector" else network.num_classes

    def outputs(self, batch: int) -> Outputs:
        """Uninitialised arrays."""
        return {"default": np.empty((batch, self._width), np.float32)}

    def run(self, images: Images, outputs: Outputs, check: Check | None = None) -> None:
        """Call the module, image by image."""
        for image, row in zip(images, outputs["default"], strict=True):
            row[:] = self._module(image[None], signature=self._signature)[0]
