"""From items to arrays: read, decode, run. The one place where pictures meet networks.

A `Processor` takes a handful of consecutive items and returns a `Block`. It decodes every image
straight into a slot of a tile and runs the tile as soon as it is full, while its pixels are still
in the core's cache. Several threads may call one processor; that is all the parallelism there is:
each thread alternates between decoding and waiting for its tile, and there are as many as cores.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.catalog import Task, find
from mobilenet_hub.errors import ImageError, InputError
from mobilenet_hub.images import MAX_PIXELS, Crop, Preprocessing, Resample
from mobilenet_hub.images.limits import max_bytes
from mobilenet_hub.labels import imagenet_labels
from mobilenet_hub.module import Module
from mobilenet_hub.pipeline.errors import ItemError
from mobilenet_hub.pipeline.items import Item, Stamp
from mobilenet_hub.pipeline.records import Failure, Label
from mobilenet_hub.runtime import GraphSpec, Runner, Session
from mobilenet_hub.runtime.contracts import Check, Images, Outputs

Normalize = Literal["l2"]


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of an item whose outputs were computed.

    Attributes:
        id, path: of the item.
        stamp: of the bytes that were read.
        sha256: of the bytes, in hexadecimal, if asked for.
        width, height: of the picture, upright, in pixels, if asked for; else 0.
    """

    id: str
    path: str
    stamp: Stamp
    sha256: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """A failure, and the stamp of the bytes that failed, if they could be read."""

    failure: Failure
    stamp: Stamp | None = None
    sha256: str = ""


@dataclass(slots=True)
class Block:
    """The results of consecutive items.

    Attributes:
        entries: in the order of the items.
        features: float32 [rows, num_features], in the order of the rows among the entries; empty
            where only labels were asked for.
        label_indices: int32 [rows, k].
        label_scores: float32 [rows, k].
        skipped: how many items were done before.
    """

    entries: list[Row | Failed] = field(default_factory=list)
    features: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    label_indices: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 0), np.int32))
    label_scores: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    skipped: int = 0

    @property
    def rows(self) -> list[Row]:
        """The entries that have outputs."""
        return [entry for entry in self.entries if isinstance(entry, Row)]

    def split(self, entries: int) -> tuple[Block, Block]:
        """The first so many entries, and the others."""
        head, tail = self.entries[:entries], self.entries[entries:]
        row = sum(isinstance(entry, Row) for entry in head)
        features, indices, scores = self.features, self.label_indices, self.label_scores
        return (
            Block(head, features[:row], indices[:row], scores[:row], self.skipped),
            Block(tail, features[row:], indices[row:], scores[row:]),
        )

    def labels(self) -> list[tuple[Label, ...]]:
        """The labels of each row, in words; empty where none were asked for."""
        names = imagenet_labels()
        if self.label_indices.size == 0:
            return [() for _ in range(max(len(self.features), len(self.label_indices)))]
        return [
            tuple(
                Label(index, names[index], score)
                for index, score in zip(indices, scores, strict=True)
            )
            for indices, scores in zip(
                self.label_indices.tolist(), self.label_scores.tolist(), strict=True
            )
        ]


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


class Processor:
    """Computes blocks of items with one module; safe to call from several threads.

    Args:
        module: a module or its handle. Labels need one of task `classification`.
        settings: what to compute.
        done: says whether an item with that id, stamp and content hash needs no more work.
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
        self.preprocessing = Preprocessing(
            *size, settings.crop, settings.resample, settings.max_pixels
        )
        self._max_bytes = max_bytes(settings.max_pixels)
        self._session, self._feature_output = self._compile(size, single)
        self._local = threading.local()

    @property
    def tile(self) -> int:
        """How many images are computed at once; best fed in multiples of it."""
        return self._session.tile

    def __call__(self, items: Sequence[Item]) -> Block:
        """Read, decode and run some items.

        Returns:
            Their results, each item once and in order; items done before are only counted.
        """
        block = Block()
        outputs = self._session.outputs(-(-len(items) // self.tile) * self.tile)
        buffer = self._buffer()
        computed = filled = 0
        for item in items:
            entry = self._load(item, buffer[filled])
            if entry is None:
                block.skipped += 1
                continue
            block.entries.append(entry)
            if isinstance(entry, Row):
                filled += 1
            if filled == self.tile:
                self._run(buffer, outputs, computed)
                computed, filled = computed + filled, 0
        if filled:  # the rest of the tile holds older pixels, and nobody looks at their results
            self._run(buffer, outputs, computed)
        self._finish(block, {name: value[: computed + filled] for name, value in outputs.items()})
        return block

    def _compile(self, size: tuple[int, int], single: bool) -> tuple[Session, str]:
        """The session to run, and which of its outputs holds the features ('' for none)."""
        dtype: Literal["uint8", "float32"] = (
            "float32" if self.settings.resample == "tf1" else "uint8"
        )
        if single:
            task: Task = "feature_vector" if self.settings.features else "classification"
            return _SingleSession(self.module, task), "default"
        if not self.settings.labels:
            return self.module.session("feature_vector", input_dtype=dtype, size=size), "default"
        if not self.settings.features:
            return self.module.session("classification", input_dtype=dtype, size=size), ""
        return _session_of_both(self.module, GraphSpec(dtype, *size)), "features"

    def _buffer(self) -> NDArray[Any]:
        """This thread's tile."""
        buffer: NDArray[Any] | None = getattr(self._local, "buffer", None)
        if buffer is None:
            shape, dtype = self.preprocessing.shape, self.preprocessing.dtype
            buffer = self._local.buffer = np.zeros((self.tile, *shape), dtype)
        return buffer

    def _load(self, item: Item, slot: NDArray[Any]) -> Row | Failed | None:
        """Read and decode one item into its slot; None if it was done before."""
        settings, stamp, digest = self.settings, None, ""
        if self._done and not settings.content_hash and self._done(item.id, item.stamp(), ""):
            return None
        try:
            data, stamp = item.read(self._max_bytes)
            if settings.content_hash:
                digest = hashlib.sha256(data).hexdigest()
                if self._done and self._done(item.id, stamp, digest):
                    return None
            self.preprocessing(data, path=item.path, into=slot)
            width = height = 0
            if settings.dimensions:
                width, height = _dimensions(data, item.path, settings.max_pixels)
        except ItemError as error:
            failure = Failure(item.id, item.path, error.stage, error.reason)
        except ImageError as error:
            failure = Failure(item.id, item.path, "decode", error.reason)
        except OSError as error:
            failure = Failure(item.id, item.path, "read", error.strerror or str(error))
        except Exception as error:  # one strange file must not end a run of millions; it is listed
            stage: Literal["read", "decode"] = "read" if stamp is None else "decode"
            reason = f"unexpected {type(error).__name__}: {error}"
            failure = Failure(item.id, item.path, stage, reason)
        else:
            return Row(item.id, item.path, stamp, digest, width, height)
        return Failed(failure, stamp, digest)

    def _run(self, buffer: NDArray[Any], outputs: Outputs, start: int) -> None:
        part = slice(start, start + self.tile)
        self._session.run(buffer, {name: value[part] for name, value in outputs.items()})

    def _finish(self, block: Block, outputs: Outputs) -> None:
        """Turn outputs into what the settings ask for. Each row is computed for itself."""
        if self.settings.features:
            block.features = outputs[self._feature_output]
            if self.settings.normalize == "l2":
                block.features = l2_normalized(block.features)
        if self.settings.labels:
            scores = softmax(outputs["default"])
            block.label_indices, block.label_scores = top_k(scores, self.settings.labels)


class _SingleSession:
    """The module's own path for a single image, in the form of a session."""

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
        """Call the module, which does its own checks."""
        outputs["default"][:] = self._module(images, signature=self._signature)


def _session_of_both(module: Module, spec: GraphSpec) -> Session:
    """A session with the outputs `default` (logits) and `features`, computed in one pass."""
    from mobilenet_hub.graph import build_graph

    task: Task = "classification"

    def build(form: GraphSpec) -> bytes:
        from onnx import helper

        size = (form.height, form.width)
        model = build_graph(module.weights, task, input_dtype=form.input_dtype, size=size)
        channels = module.weights.network.num_features
        model.graph.output.append(helper.make_tensor_value_info("features", 1, ["batch", channels]))
        return bytes(model.SerializeToString())

    return Runner(build, module._engine).session(spec, throughput=True)


def _dimensions(data: bytes, path: str, max_pixels: int) -> tuple[int, int]:
    """Width and height of a picture that was decoded, upright, in pixels, from its header."""
    from mobilenet_hub.images import formats, jpeg
    from mobilenet_hub.images.orientation import parse_orientation

    if data.startswith(jpeg.SIGNATURE):
        height, width = jpeg.read_header(data, path, max_pixels).upright_size
        return width, height
    from PIL import Image

    kind = formats.recognise(data[:12])
    assert kind is not None  # it was decoded
    with Image.open(io.BytesIO(data), formats=[kind]) as image:
        width, height = image.size
        exif = image.info.get("exif")
    turned = isinstance(exif, bytes) and parse_orientation(exif) >= 5
    return (height, width) if turned else (width, height)


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
