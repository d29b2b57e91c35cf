"""What is measured in a process that does nothing else: begun by `benchmark`, one for each row."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet_hub.errors import EngineError, ImageError, ItemError, MissingExtraError
from mobilenet_hub.images.limits import max_bytes
from mobilenet_hub.inference import InferenceModule
from mobilenet_hub.pipeline.api import embed
from mobilenet_hub.pipeline.parallel import ordered_map
from mobilenet_hub.pipeline.sources.items import BytesItem, Item
from mobilenet_hub.pipeline.sources.resolve import open_sources
from mobilenet_hub.settings import EngineName, Precision

MOST_PHOTOS = 2000
_BATCH_PIXELS = 64 * 224 * 224  # of images in memory that a call is given
_MOST_IMAGES = 1024


def main() -> None:
    """Read what is wanted as JSON, and print the figures so."""
    wanted = json.load(sys.stdin)
    try:
        figures = measure(**wanted)
    except (EngineError, MissingExtraError) as error:
        figures = {"left_out": str(error)}
    print(json.dumps(figures))


def measure(
    module: str,
    engine: EngineName,
    precision: Precision,
    threads: int,
    photos: str | None,
    seconds: float,
    started: float,
) -> dict[str, Any]:
    """The fields of `benchmark.Figures`; see `benchmark` for what is wanted.

    `started` is when the process was, by the monotonic clock.
    """
    loaded = InferenceModule(module, engine=engine, precision=precision, threads=threads)
    items = [_made_up()] if photos is None else _first(photos)
    next(record for record in embed(items, loaded, threads=threads) if record.ok)
    cold = time.monotonic() - started

    height, width = loaded.preprocessing.height, loaded.preprocessing.width
    count = min(_MOST_IMAGES, max(1, _BATCH_PIXELS // (height * width)))
    images = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
    loaded(images[:1])
    latencies = []
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        began = time.perf_counter()
        loaded(images[:1])
        latencies.append(time.perf_counter() - began)
    in_memory = _rate(lambda: (len(loaded(images)) for _ in cycle([None])), seconds)

    decoded = embedded = None
    if photos is not None:
        decoded = _rate(lambda: _decode(loaded, cycle(items), threads), seconds)
        embedded = _rate(lambda: _embed(loaded, cycle(items), threads), seconds)
    return {
        "cold_start_seconds": cold,
        "latency_ms": 1000 * statistics.median(latencies),
        "images_per_second": in_memory,
        "decoded_per_second": decoded,
        "embedded_per_second": embedded,
        "photos": 0 if photos is None else len(items),
        "peak_memory_mb": _peak_memory(),
    }


def _rate(begin: Callable[[], Any], seconds: float) -> float:
    """How many a second, of generators that yield how many were done; the first is a warm-up."""
    with closing(begin()) as done:
        next(done)
        count, began = 0, time.perf_counter()
        for more in done:
            count += more
            if (passed := time.perf_counter() - began) >= seconds:
                return float(count / passed)
    raise AssertionError("it does not end")


def _decode(module: InferenceModule, items: Iterable[Item], threads: int) -> Any:
    preprocessing = module.preprocessing
    limit = max_bytes(preprocessing.max_pixels)

    def one(item: Item) -> int:
        try:
            preprocessing(item.read(limit)[0])
        except (ImageError, ItemError, OSError):  # no photo: as `embed`, which lists it
            return 0
        return 1

    return ordered_map(one, items, threads=threads)


def _embed(module: InferenceModule, items: Iterable[Item], threads: int) -> Any:
    records: Any = embed(items, module, threads=threads)
    with closing(records):
        for record in records:
            yield int(record.ok)


def _first(photos: str) -> list[Item]:
    return list(islice(open_sources(photos).items(), MOST_PHOTOS))


def _made_up() -> Item:
    """A small JPEG, smooth as photos are."""
    import simplejpeg

    coarse = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    picture = np.ascontiguousarray(coarse.repeat(8, 0).repeat(8, 1))
    return BytesItem("made up", "made up", simplejpeg.encode_jpeg(picture, 90))


def _peak_memory() -> float | None:
    """The most that this process has had in memory, in MB, where Linux says it.

    (Its count begins with the program; that of `getrusage` with the process that started it.)
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
