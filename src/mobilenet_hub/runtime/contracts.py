"""What the runtime and its engines agree on: forms of a graph, sessions, engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8] | NDArray[np.float32]
Outputs = dict[str, NDArray[np.float32]]
# Looks at a few images just before they are computed, while they come into the cache anyway; gets
# them and the index of the first, and raises where they cannot be meant.
Check = Callable[[Images, int], None]

# Activations of a tile should fit a core's cache: measured on AVX-512 cores with 1 MB of L2, one
# image of 224×224 a tile is fastest, four of 128×128, eight of 96×96 (benchmarks/README.md).
_TILE_PIXELS = 8 * 96 * 96
_MAX_TILE = 8


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
    """A graph compiled for tiles of a fixed number of images; `run` calls may overlap."""

    tile: int
    in_flight: int

    def outputs(self, batch: int) -> Outputs:
        """Uninitialised output arrays for a batch, by output name."""

    def run(self, images: Images, outputs: Outputs, check: Check | None = None) -> None:
        """Compute all images [n, height, width, 3] into `outputs`; n is a multiple of `tile`."""


class Engine(Protocol):
    """Something that compiles ONNX models."""

    def compile(self, model: bytes, spec: GraphSpec, *, tile: int | None) -> Session:
        """Compile for throughput with tiles of that size, or for single images if None."""
