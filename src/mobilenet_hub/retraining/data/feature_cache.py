"""Features on disk, so that a photo is computed once: by its content and all that decides them.

    features/<space>/<part>.safetensors     the features of up to so many photos

A space is what decides features beside the photo: module, weights, preprocessing, engine,
precision, version of this library. Parts are written whole and never changed; those used longest
ago are removed where the cache grows above its limit. Losing any costs time and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.files import crc32c, remove_leftovers, write_atomically
from mobilenet_hub.pipeline.perceptual_hash import BYTES as HASH_BYTES
from mobilenet_hub.weights.storage.cache import Cache

LIMIT_BYTES = 4_000_000_000  # 780,000 photos of 1,280 features
PART_ROWS = 4096
_DIGEST_BYTES = 32
_SUFFIX = ".safetensors"

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Space:
    """The features in one space, as `cache list` shows them.

    Attributes:
        key: names its folder.
        made: what decides them.
        photos: how many.
        size: in bytes.
    """

    key: str
    made: Mapping[str, Any]
    photos: int
    size: int


class FeatureCache:
    """The features of one space.

    Args:
        made: what decides them, as it goes into JSON.
        wide: how many features a photo has.
        log: told of parts that were damaged, and removed.
        cache: where; the user's cache by default.
    """

    def __init__(
        self,
        made: Mapping[str, Any],
        wide: int,
        log: Callable[[str], None],
        cache: Cache | None = None,
    ) -> None:
        self._cache = cache or Cache()
        self._made = json.dumps(dict(made), sort_keys=True)
        self.wide = wide
        self._log = log
        key = hashlib.sha256(self._made.encode()).hexdigest()[:16]
        self._folder = _root(self._cache) / key

    def parts(self) -> Iterator[tuple[list[bytes], list[bytes], Floats]]:
        """All that is there: contents' sha256, perceptual hashes, float32 [photos, features]."""
        with self._cache.errors("read"):
            paths = sorted(self._folder.glob(f"*{_SUFFIX}"))
        for path in paths:
            try:
                rows = _read(path, self.wide)
            except FileNotFoundError:
                continue  # another process made room
            except ValueError as error:
                self._log(f"damaged features removed from the cache: {path.name}: {error}")
                path.unlink(missing_ok=True)
            else:
                os.utime(path)
                yield rows

    def add(self, digests: list[bytes], hashes: list[bytes], features: Floats) -> None:
        """Keep the features of some photos.

        Raises:
            CacheError: no permission, no space.
        """
        from safetensors.numpy import save

        tensors: dict[str, NDArray[Any]] = {
            "sha256": _bytes(digests, _DIGEST_BYTES),
            "perceptual_hash": _bytes(hashes, HASH_BYTES),
            "features": np.ascontiguousarray(features),
        }
        tensors["crc32c"] = _checksum(tensors.values())
        data = save(tensors, {"made": self._made})
        name = hashlib.sha256(b"".join(digests)).hexdigest()[:32]
        with self._cache.errors("write"):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._folder / f"{name}{_SUFFIX}", data)


def spaces(cache: Cache | None = None) -> list[Space]:
    """What features are in the cache."""
    cache = cache or Cache()
    found = []
    for folder in sorted(_root(cache).glob("*")):
        sizes, photos, made = 0, 0, None
        for path in sorted(folder.glob(f"*{_SUFFIX}")):
            try:
                made, rows = _described(path)
            except (ValueError, OSError):
                continue  # `prune` removes it
            sizes, photos = sizes + path.stat().st_size, photos + rows
        if made is not None:
            found.append(Space(folder.name, made, photos, sizes))
    return found


def prune(limit: int = LIMIT_BYTES, cache: Cache | None = None) -> list[Path]:
    """Remove what is damaged or half written, and the parts used longest ago above the limit.

    Args:
        limit: greatest size of all features, in bytes; 0 removes all.
        cache: which; the user's by default.

    Returns:
        The files that were removed.

    Raises:
        CacheError: a file cannot be removed.
    """
    cache = cache or Cache()
    removed, total, kept = [], 0, []
    with cache.errors("clean"):
        for folder in sorted(path for path in _root(cache).glob("*") if path.is_dir()):
            remove_leftovers(folder, lambda name: name.endswith(_SUFFIX))
            for path in folder.glob(f"*{_SUFFIX}"):
                status = path.stat()
                kept.append((status.st_mtime_ns, path, status.st_size))
        for _, path, size in sorted(kept, reverse=True):
            if total + size > limit or _is_damaged(path):
                path.unlink(missing_ok=True)
                removed.append(path)
            else:
                total += size
        for folder in {path.parent for path in removed}:
            if not any(folder.iterdir()):
                folder.rmdir()
    return removed


def _root(cache: Cache) -> Path:
    return cache.directory / "features"


def _checksum(arrays: Iterable[NDArray[Any]]) -> NDArray[np.uint32]:
    """CRC-32C of all bytes of arrays: uint32 [1]."""
    return np.array([crc32c(*(array.data for array in arrays))], np.uint32)


def _bytes(values: list[bytes], width: int) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(values), np.uint8).reshape(-1, width)


def _read(path: Path, features: int) -> tuple[list[bytes], list[bytes], Floats]:
    """One part.

    Raises:
        ValueError: it is not what `add` wrote.
        OSError: it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if path.stat().st_size > _most_bytes(features):
        raise ValueError("larger than any part")
    try:
        tensors = load(path.read_bytes())
        parts = [tensors[name] for name in ("sha256", "perceptual_hash", "features")]
        sound = np.array_equal(tensors["crc32c"], _checksum(parts))
    except (SafetensorError, KeyError) as error:
        raise ValueError(str(error)) from error
    digests, hashes, values = parts
    rows = len(values)
    fits = (
        digests.dtype == hashes.dtype == np.uint8 and values.dtype == np.float32
        and digests.shape == (rows, _DIGEST_BYTES) and hashes.shape == (rows, HASH_BYTES)
        and values.shape == (rows, features)
    )  # fmt: skip
    if not fits or not np.isfinite(values).all():
        raise ValueError("not features of photos")
    if not sound:
        raise ValueError("not the bytes that were written")
    return [row.tobytes() for row in digests], [row.tobytes() for row in hashes], values


def _most_bytes(features: int) -> int:
    return PART_ROWS * (4 * features + _DIGEST_BYTES + HASH_BYTES) + (1 << 16)


def _described(path: Path) -> tuple[dict[str, Any], int]:
    """What decides the features of a part, and of how many photos it has them.

    Raises:
        ValueError: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            made = json.loads((file.metadata() or {})["made"])
            return dict(made), int(file.get_slice("features").get_shape()[0])
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(str(error)) from error


def _is_damaged(path: Path) -> bool:
    try:
        _described(path)
    except ValueError:
        return True
    return False
