"""What the runtime and its engines agree on: forms of a graph, sessions, engines."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.settings import Precision

Images = NDArray[np.uint8] | NDArray[np.float32]
Outputs = dict[str, NDArray[np.float32]]
# Looks at a few images just before they are computed, while they come into the cache anyway; gets
# them and the index of the first, and raises where they cannot be meant.
Check = Callable[[Images, int], None]


@dataclass(frozen=True, slots=True)
class GraphSpec:
    """Which form of a graph is wanted: its input, and the outputs beside `default`."""

    input_dtype: Literal["uint8", "float32"]
    height: int
    width: int
    endpoints: tuple[str, ...] = ()


class Model(Protocol):
    """A graph to compile, of the shape that a `GraphSpec` says, its batch open."""

    @property
    def constants(self) -> Mapping[str, NDArray[Any]]:
        """The arrays in it, by name."""

    def to_bytes(self, *, batch: int | None = None, given: Collection[str] = ()) -> bytes:
        """As ONNX, of a number of images; constants that are `given` become inputs instead."""


class LazyModel:
    """A model that is built when somebody looks into it, and known before by what decides it.

    So what was compiled of it can be kept for other processes, which need not build it at all.

    Args:
        made: all that decides what it computes, as it goes into JSON.
        build: builds it.
    """

    def __init__(self, made: Mapping[str, Any], build: Callable[[], Model]) -> None:
        self.made = made
        self._build = build
        self._built: Model | None = None
        self._lock = threading.Lock()

    @property
    def constants(self) -> Mapping[str, NDArray[Any]]:
        """The arrays in it, by name."""
        return self._model.constants

    def to_bytes(self, *, batch: int | None = None, given: Collection[str] = ()) -> bytes:
        """As ONNX, as `Model` says."""
        return self._model.to_bytes(batch=batch, given=given)

    @property
    def _model(self) -> Model:
        with self._lock:  # callers at once build it once
            if self._built is None:
                self._built = self._build()
            return self._built


class Session(Protocol):
    """A graph compiled for a fixed number of images at a time; `run` calls may overlap.

    Attributes:
        micro_batch: that number.
    """

    micro_batch: int

    def outputs(self, batch: int) -> Outputs:
        """Uninitialised output arrays for a batch, by output name."""

    def run(self, images: Images, outputs: Outputs, check: Check | None = None) -> None:
        """Compute images [n, height, width, 3] into `outputs`; n a multiple of `micro_batch`."""


class Engine(Protocol):
    """Something that compiles models.

    Attributes:
        precision: of what it computes.
    """

    precision: Precision

    def compile(self, model: Model, spec: GraphSpec, *, micro_batch: int | None) -> Session:
        """Compile for throughput with micro-batches of that size, or for single images if None."""
