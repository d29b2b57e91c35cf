"""The features of photos: from the cache, or computed by the pipeline and kept there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub import __version__
from mobilenet_hub.errors import ItemError
from mobilenet_hub.images.limits import max_bytes
from mobilenet_hub.inference import InferenceModule
from mobilenet_hub.pipeline.parallel import ordered_map, process_all
from mobilenet_hub.pipeline.processor import Processor
from mobilenet_hub.pipeline.progress import Progress
from mobilenet_hub.pipeline.records import Failure
from mobilenet_hub.pipeline.results import Counts, Outcome, Results
from mobilenet_hub.pipeline.sources.items import Item
from mobilenet_hub.retraining.data.feature_cache import PART_ROWS, FeatureCache, Floats, prune
from mobilenet_hub.runtime import available_threads
from mobilenet_hub.settings import Settings

_SAID = 500  # photos, after which it is said how many have been read


@dataclass(frozen=True, slots=True, eq=False)
class Photos:
    """What is known of photos, a row each.

    Attributes:
        digests: the sha256 of each one's bytes.
        hashes: perceptual hashes.
        features: float32 [photos, features].
    """

    digests: list[bytes]
    hashes: list[bytes]
    features: Floats

    def only(self, rows: NDArray[np.intp]) -> Photos:
        """Some of them, by their rows."""
        return Photos(
            [self.digests[row] for row in rows],
            [self.hashes[row] for row in rows],
            self.features[rows],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """The features of items.

    Attributes:
        rows: which of the items could be read, in order: int [photos].
        photos: of these.
        failures: of the others.
        computed: how many were not in the cache.
    """

    rows: NDArray[np.intp]
    photos: Photos
    failures: list[Failure]
    computed: int


def embed_items(
    items: Sequence[Item],
    module: InferenceModule,
    settings: Settings,
    *,
    log: Callable[[str], None],
    progress: Progress | None = None,
    threads: int | None = None,
) -> Embedded:
    """The features of photos, each computed only where the cache has them not.

    Args:
        items: the photos; their ids differ.
        module: what computes.
        settings: from bytes to pixels, and the engine; `content_hash` and `perceptual_hash` on.
        log: told what people may want to know later.
        progress: told of the counts.
        threads: how many photos are read and decoded at once.

    Raises:
        CacheError: features cannot be kept.
    """
    cache = feature_cache(module, settings, log)
    table = _Table(items, cache.wide)
    table.take_known(cache, settings, threads, progress)
    missing = [item for item in items if item.id not in table.done]
    counts = Counts(skipped=len(items) - len(missing))
    if missing:
        pending = _Pending(cache)
        stream = process_all(Processor(module, settings, threads=threads), missing, threads=threads)
        with closing(stream):
            for results in stream:
                table.take_computed(results)
                pending.add(results)
                counts.add(results)
                if progress is not None:
                    progress.update(counts)
        pending.write()
        prune()
    if progress is not None:
        progress.update(counts)
    return table.finished(computed=counts.done)


def feature_cache(
    module: InferenceModule, settings: Settings, log: Callable[[str], None]
) -> FeatureCache:
    """Where the features are that a module gives with some settings."""
    made = {
        **module.identity(settings.preprocessing.size),
        **settings.to_dict(),
        "library_version": __version__,
    }
    return FeatureCache(made, module.current_weights().network.num_features, log)


class _Table:
    """Features by the rows of items, filled in any order."""

    def __init__(self, items: Sequence[Item], wide: int) -> None:
        self._items = items
        self._row = {item.id: row for row, item in enumerate(items)}
        self._features: Floats = np.empty((len(items), wide), np.float32)
        self._digests = [b""] * len(items)
        self._hashes = [b""] * len(items)
        self._failures: dict[int, Failure] = {}
        self.done: set[str] = set()

    def take_known(
        self,
        cache: FeatureCache,
        settings: Settings,
        threads: int | None,
        progress: Progress | None,
    ) -> None:
        """Fill in what the cache has; photos are read and hashed only if it has anything."""
        wanted: dict[bytes, list[int]] = {}
        for digests, hashes, features in cache.parts():
            wanted = wanted or _rows_by_digest(self._items, settings, threads, progress)
            for at, digest in enumerate(digests):
                for row in wanted.get(digest, ()):
                    self._set(row, digest, hashes[at], features[at])

    def take_computed(self, results: Results) -> None:
        """Fill in what the pipeline gives."""
        features = iter(results.features)
        for outcome in results.outcomes:
            row = self._row[outcome.id]
            if outcome.stage is not None:
                self._failures[row] = Failure(
                    outcome.id, outcome.path, outcome.stage, outcome.reason
                )
            else:
                digest = bytes.fromhex(outcome.sha256)
                self._set(row, digest, outcome.perceptual_hash, next(features))

    def finished(self, *, computed: int) -> Embedded:
        """All of it; rows of photos that failed are closed up in place."""
        rows = np.array([self._row[i.id] for i in self._items if i.id in self.done], np.intp)
        if len(rows) < len(self._items):
            for at, row in enumerate(rows.tolist()):
                self._features[at] = self._features[row]
        photos = Photos(
            [self._digests[row] for row in rows],
            [self._hashes[row] for row in rows],
            self._features[: len(rows)],
        )
        failures = [self._failures[row] for row in sorted(self._failures)]
        return Embedded(rows, photos, failures, computed)

    def _set(self, row: int, digest: bytes, perceptual_hash: bytes, features: Floats) -> None:
        self._digests[row], self._hashes[row] = digest, perceptual_hash
        self._features[row] = features
        self.done.add(self._items[row].id)


class _Pending:
    """Computed features on their way to the cache, a part at a time."""

    def __init__(self, cache: FeatureCache) -> None:
        self._cache = cache
        self._rows: list[tuple[Outcome, Floats]] = []

    def add(self, results: Results) -> None:
        """Take some up."""
        self._rows += zip(results.rows, results.features, strict=True)
        if len(self._rows) >= PART_ROWS:
            self.write()

    def write(self) -> None:
        """Keep all that wait."""
        while self._rows:
            part, self._rows = self._rows[:PART_ROWS], self._rows[PART_ROWS:]
            self._cache.add(
                [bytes.fromhex(outcome.sha256) for outcome, _ in part],
                [outcome.perceptual_hash for outcome, _ in part],
                np.stack([features for _, features in part]),
            )


def _rows_by_digest(
    items: Sequence[Item], settings: Settings, threads: int | None, progress: Progress | None
) -> dict[bytes, list[int]]:
    """The rows of each content; of items that cannot be read, none: the pipeline says why."""
    limit = max_bytes(settings.preprocessing.max_pixels)

    def digest(item: Item) -> bytes | None:
        try:
            return hashlib.sha256(item.read(limit)[0]).digest()
        except (ItemError, OSError, MemoryError):
            return None

    rows: dict[bytes, list[int]] = {}
    hashed = ordered_map(digest, items, threads=threads or available_threads())
    with closing(hashed):
        for row, value in enumerate(hashed):
            if value is not None:
                rows.setdefault(value, []).append(row)
            if progress is not None and ((row + 1) % _SAID == 0 or row + 1 == len(items)):
                progress.step("photos read", row + 1, len(items))
    return rows
