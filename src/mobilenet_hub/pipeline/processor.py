"""From items to arrays: read, decode, run. The one place where pictures meet networks.

A `Processor` takes a handful of consecutive items and returns a `Block`. Several threads may call
one processor; that is all the parallelism there is: each thread reads and decodes its images into a
lane, and computes them there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.catalog import find
from mobilenet_hub.errors import ImageError, InputError, ItemError
from mobilenet_hub.images import MAX_PIXELS, Crop, Preprocessing, Resample
from mobilenet_hub.images.limits import max_bytes
from mobilenet_hub.labels import imagenet_labels
from mobilenet_hub.module import Module
from mobilenet_hub.pipeline.records import Failure
from mobilenet_hub.pipeline.results import Block, Failed, Row
from mobilenet_hub.pipeline.sessions import (
    FEATURES,
    LOGITS,
    Lane,
    Lanes,
    SingleSession,
    lane_images,
    lanes_of,
)
from mobilenet_hub.pipeline.sources.items import Item, Stamp
from mobilenet_hub.runtime import GraphSpec, available_threads
from mobilenet_hub.runtime.contracts import Outputs

Normalize = Literal["l2"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What is computed for each image.

    Attributes:
        features: whether to return feature vectors.
        labels: how many of the most likely classes to return.
        normalize: `l2` scales each feature vector to length 1.
        crop, resample, max_pixels: see `images.Preprocessing`.
        size: height and width of the input, where the module's is not fixed; None for its own.
        content_hash: whether to hash the bytes of each image.
        dimensions: whether to note each picture's width and height.
    """

    features: bool = True
    labels: int = 0
    normalize: Normalize | None = None
    crop: Crop = "center"
    resample: Resample = "bilinear"
    max_pixels: int = MAX_PIXELS
    size: tuple[int, int] | None = None
    content_hash: bool = False
    dimensions: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.labels <= len(imagenet_labels()):
            raise InputError(
                f"labels must be from 0 to {len(imagenet_labels())}. Received: {self.labels}"
            )
        if self.normalize not in (None, "l2"):
            raise InputError(f"normalize must be None or 'l2'. Received: {self.normalize!r}")


@dataclass(frozen=True, slots=True)
class _Read:
    """The bytes of an item."""

    data: bytes
    stamp: Stamp
    sha256: str


class Processor:
    """Computes blocks of items with one module; safe to call from several threads.

    Args:
        module: a module or its handle. Labels need one of task `classification`.
        settings: what to compute.
        done: says whether an item with that id, stamp and content hash needs no more work.
        threads: how many images are decoded and computed at once; one a core by default.
        single: compile for one image in the least time, not for many in the least time each.

    Raises:
        InputError: labels from a module without logits, or a size the module does not take.
    """

    def __init__(
        self,
        module: Module | str,
        settings: Settings,
        *,
        done: Callable[[str, Stamp | None, str], bool] | None = None,
        threads: int | None = None,
        single: bool = False,
    ) -> None:
        self.module = module if isinstance(module, Module) else Module(module)
        self.settings = settings
        self._done = done
        info = self.module.info
        if settings.labels and info.task != "classification":
            raise InputError(
                "labels need a module that classifies, e.g. "
                f"{find('google/imagenet/mobilenet_v2_140_224/classification').handle}. "
                f"Received: {info.handle}"
            )
        size = settings.size or (info.image_size, info.image_size)
        if info.fixed_size and size != (info.image_size, info.image_size):
            raise InputError(
                f"the input size of {info.handle} is fixed to {info.image_size}. "
                f"Received: {size[0]}x{size[1]}"
            )
        self.preprocessing = Preprocessing(
            *size, settings.crop, settings.resample, settings.max_pixels
        )
        self._max_bytes = max_bytes(settings.max_pixels)
        self._spec = GraphSpec("float32" if settings.resample == "tf1" else "uint8", *size)
        self._both = settings.features and settings.labels > 0
        self._lanes = self._single_lane() if single else self._own_lanes(threads)

    def chunk(self) -> int:
        """How many items a call is best given (any number works)."""
        return lane_images(self.preprocessing, self._spec.tile)

    def __call__(self, items: Sequence[Item]) -> Block:
        """Read, decode and run some items.

        Returns:
            Their results, each item once and in order; items done before are only counted.
        """
        reading = ((item, self._read(item)) for item in items)
        if any(getattr(item, "remote", False) for item in items):
            # Waiting for a network must not keep a lane from others.
            return self._compute(list(reading), len(items))
        return self._compute(reading, len(items))

    def _compute(self, reading: Iterable[tuple[Item, _Read | Failed | None]], count: int) -> Block:
        block = Block()
        with self._lanes.borrow() as lane:
            outputs = lane.outputs(count)
            computed = filled = 0
            for item, read in reading:
                if read is None:
                    block.skipped += 1
                    continue
                entry = self._decode(item, read, lane, filled)
                block.entries.append(entry)
                filled += isinstance(entry, Row)
                if filled == len(lane.pixels):
                    lane.run(filled, outputs, computed)
                    computed, filled = computed + filled, 0
            if filled:
                lane.run(filled, outputs, computed)
        self._finish(block, {name: value[: computed + filled] for name, value in outputs.items()})
        return block

    def _own_lanes(self, threads: int | None) -> Lanes:
        cores = available_threads()
        return lanes_of(
            self.module, self._spec, self.preprocessing,
            features=self.settings.features, logits=self.settings.labels > 0,
            limit=min(threads or cores, cores),
        )  # fmt: skip

    def _single_lane(self) -> Lanes:
        session = SingleSession(
            self.module, "feature_vector" if self.settings.features else "classification"
        )
        return Lanes(lambda: Lane(session, self.preprocessing), 1)

    def _read(self, item: Item) -> _Read | Failed | None:
        """The bytes of an item; None if it was done before."""
        content_hash, stamp, sha256 = self.settings.content_hash, None, ""
        try:
            if self._done and not content_hash and self._done(item.id, item.stamp(), ""):
                return None
            data, stamp = item.read(self._max_bytes)
            if content_hash:
                sha256 = hashlib.sha256(data).hexdigest()
                if self._done and self._done(item.id, stamp, sha256):
                    return None
            return _Read(data, stamp, sha256)
        except ItemError as error:
            failure = Failure(item.id, item.path, error.stage, error.reason)
        except OSError as error:
            failure = Failure(item.id, item.path, "read", error.strerror or str(error))
        except Exception as error:  # one strange file must not end a run of millions; it is listed
            reason = f"unexpected {type(error).__name__}: {error}"
            failure = Failure(item.id, item.path, "read", reason)
        return Failed(failure, stamp, sha256)

    def _decode(self, item: Item, read: _Read | Failed, lane: Lane, slot: int) -> Row | Failed:
        """Pixels of an item into a lane."""
        if isinstance(read, Failed):
            return read
        width = height = 0
        try:
            self.preprocessing(read.data, path=item.path, into=lane.pixels[slot])
            if self.settings.dimensions:
                width, height = _dimensions(read.data, item.path, self.settings.max_pixels)
        except ImageError as error:
            reason = error.reason
        except Exception as error:  # as above
            reason = f"unexpected {type(error).__name__}: {error}"
        else:
            return Row(item.id, item.path, read.stamp, read.sha256, width, height)
        return Failed(Failure(item.id, item.path, "decode", reason), read.stamp, read.sha256)

    def _finish(self, block: Block, outputs: Outputs) -> None:
        """Turn outputs into what the settings ask for. Each row is computed for itself."""
        if self.settings.features:
            block.features = outputs[FEATURES if self._both else "default"]
            if self.settings.normalize == "l2":
                block.features = l2_normalized(block.features)
        if self.settings.labels:
            scores = softmax(outputs[LOGITS])
            block.label_indices, block.label_scores = top_k(scores, self.settings.labels)


def _dimensions(data: bytes, path: str, max_pixels: int) -> tuple[int, int]:
    """Width and height of a picture that was decoded, upright, in pixels, from its header."""
    from mobilenet_hub.images import formats, jpeg

    if data.startswith(jpeg.SIGNATURE):
        height, width = jpeg.read_header(data, path, max_pixels).upright_size
    else:
        kind = formats.recognise(data[:12])
        assert kind is not None  # it was decoded
        height, width = formats.upright_size(data, kind)
    return width, height


def l2_normalized(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to Euclidean length 1; rows of zeros stay zero.

    Args:
        features: float32 [rows, features].
    """
    norms = np.sqrt(np.sum(np.square(features, dtype=np.float64), axis=1, keepdims=True))
    norms[norms == 0] = 1
    normalized: NDArray[np.float32] = (features / norms).astype(np.float32)
    return normalized


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of each row of logits [rows, classes]."""
    powers: NDArray[np.float32] = np.exp(logits - logits.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


def top_k(scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k highest scores of each row, highest first, equal ones by index.

    Args:
        scores: float32 [rows, classes].
        k: from 0 to the number of classes.

    Returns:
        int32 [rows, k] indices and float32 [rows, k] scores.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order.astype(np.int32), np.take_along_axis(scores, order, axis=1)
