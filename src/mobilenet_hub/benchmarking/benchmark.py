"""`hub.benchmark`: one module in every engine and precision that is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, product
from os import PathLike
from pathlib import Path
from typing import Any, get_args

from mobilenet_hub.benchmarking.child import MOST_PHOTOS
from mobilenet_hub.errors import EngineError, ImageError, InputError, ItemError
from mobilenet_hub.images import decode
from mobilenet_hub.images.limits import max_bytes
from mobilenet_hub.pipeline.progress import NO_PROGRESS, Progress
from mobilenet_hub.pipeline.sources.resolve import open_sources
from mobilenet_hub.runtime import available_threads
from mobilenet_hub.settings import MAX_PIXELS, EngineName, Precision
from mobilenet_hub.verification.machine import Machine, this_machine
from mobilenet_hub.weights.resolve import resolve

SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Figures:
    """One engine in one precision.

    Attributes:
        engine, precision: which.
        cold_start_seconds: from the start of a process to the first photo's output, with what
            earlier processes left in the cache.
        latency_ms: of one image in memory, the median.
        images_per_second: of many images in memory.
        decoded_per_second: photos read and decoded to the network's size, nothing computed.
        embedded_per_second: photos from their files to feature vectors.
        photos: how many different ones that was, at most 2,000, and those among them that cannot
            be read; 0, and None above, where none were given.
        peak_memory_mb: of the process that did all this, in MB (10^6 bytes); None where the system
            does not say (all but Linux).
    """

    engine: EngineName
    precision: Precision
    cold_start_seconds: float
    latency_ms: float
    images_per_second: float
    decoded_per_second: float | None
    embedded_per_second: float | None
    photos: int
    peak_memory_mb: float | None


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What was measured for a module.

    Attributes:
        handle: the module, or file, as it was named.
        threads: cores that were used.
        figures: of each engine and precision that can be had.
        left_out: engines and precisions that cannot, as `engine precision`, and why.
        machine: where.
    """

    handle: str
    threads: int
    figures: tuple[Figures, ...]
    left_out: dict[str, str]
    machine: Machine


def benchmark(
    module: str | PathLike[str],
    *,
    photos: str | PathLike[str] | None = None,
    engines: Sequence[EngineName] = get_args(EngineName),
    precisions: Sequence[Precision] = get_args(Precision),
    seconds: float = SECONDS,
    threads: int | None = None,
    progress: Progress = NO_PROGRESS,
) -> Benchmark:
    """Measure this machine.

    ```python
    handle = "google/imagenet/mobilenet_v2_100_224/feature_vector"
    for row in hub.benchmark(handle, photos="photos/").figures:
        print(row.engine, row.precision, row.images_per_second)
    ```

    Args:
        module: a handle, or a file of weights.
        photos: a folder, or whatever else `hub.embed` takes by name: for decoding, and for the way
            from files to feature vectors.
        engines: which to try.
        precisions: which to try.
        seconds: how long each figure is measured.
        threads: cores to use; all by default.
        progress: told how many engines and precisions are done.

    Raises:
        UnknownHandleError, MissingWeightsError, WeightsError, SourceError: the module or the photos
            are not there.
        EngineError: none of these engines and precisions can be had, or a measurement ended.
        InputError: no time to measure in; or standard input, or nothing that can be read, for
            photos.
    """
    if not 0 < seconds < float("inf"):
        raise InputError(f"seconds must be a number above 0. Received: {seconds!r}")
    resolve(os.fspath(module))  # fetched now, if need be, and no part of a cold start
    if photos is not None:
        _check_photos(os.fspath(photos))
    threads = available_threads() if threads is None else threads
    machine = this_machine()
    figures, left_out = [], {}
    pairs, step = [*product(engines, precisions)], f"engines and precisions of {module}"
    progress.step(step, 0, len(pairs))
    for done, (engine, precision) in enumerate(pairs, 1):
        outcome = _in_a_process(
            module=os.fspath(module), engine=engine, precision=precision, threads=threads,
            photos=None if photos is None else os.fspath(photos), seconds=seconds,
        )  # fmt: skip
        if "left_out" in outcome:
            left_out[f"{engine} {precision}"] = outcome["left_out"]
        else:
            figures.append(Figures(engine, precision, **outcome))
        progress.step(step, done, len(pairs))
    if not figures:
        raise EngineError(f"nothing can be measured: {_words(left_out) or 'no engine was named'}")
    return Benchmark(os.fspath(module), threads, tuple(figures), left_out, machine)


def _check_photos(photos: str) -> None:
    """Refuse what no figure could be of, before anything is measured."""
    if photos == "-":
        raise InputError("photos are gone through several times: give a path. Received: '-'")
    read = 0
    for item in islice(open_sources(photos).items(), MOST_PHOTOS):
        read += 1
        with suppress(ImageError, ItemError, OSError):
            decode(item.read(max_bytes(MAX_PIXELS))[0])
            return
    which = f"none of {read:,} that can be read" if read else "none"
    raise InputError(f"expected photos in {photos!r}. Received: {which}")


def _words(left_out: dict[str, str]) -> str:
    return "; ".join(f"{what}: {reason}" for what, reason in left_out.items())


def _in_a_process(**wanted: Any) -> dict[str, Any]:
    """What `child` measures there.

    Raises:
        EngineError: it ended otherwise than with figures.
    """
    source = str(Path(__file__).parents[2])  # the same package, however it was found here
    paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "mobilenet_hub.benchmarking.child"],
        input=json.dumps({**wanted, "started": time.monotonic()}), capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    if done.returncode != 0:
        last: Iterable[str] = done.stderr.strip().splitlines()[-1:]
        raise EngineError(
            f"measuring {wanted['engine']} in {wanted['precision']} ended with exit code "
            f"{done.returncode}: {' '.join(last)}"
        )
    result: dict[str, Any] = json.loads(done.stdout)
    return result
