"""From items to arrays: read, decode, run. The one place where pictures meet networks.

A `Processor` takes a batch of consecutive items and returns their `Results`. Several threads may
call one processor; that is all the parallelism there is: each thread reads and decodes its images
into the buffer of a worker, and computes them there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.catalog import find
from mobilenet_hub.errors import ImageError, InputError, ItemError
from mobilenet_hub.images import preprocess, upright_size
from mobilenet_hub.images.limits import max_bytes
from mobilenet_hub.inference import FEATURES, InferenceModule
from mobilenet_hub.pipeline.outputs import l2_normalized, probabilities, similarity, top_k
from mobilenet_hub.pipeline.perceptual_hash import perceptual_hash
from mobilenet_hub.pipeline.results import Outcome, Results
from mobilenet_hub.pipeline.sessions import LOGITS, Worker, workers_of
from mobilenet_hub.pipeline.sources.items import Item, Stamp
from mobilenet_hub.runtime import available_threads
from mobilenet_hub.runtime.contracts import Outputs
from mobilenet_hub.settings import (
    Precision,
    PreprocessingChoices,
    PreprocessingSettings,
    Settings,
)

_Read = tuple[bytes, Outcome]


def settings_for(
    module: InferenceModule, preprocessing: PreprocessingChoices, **wanted: Any
) -> Settings:
    """Settings that fit a module; what is not chosen is the module's own.

    Args:
        module: what computes.
        preprocessing: what is to be otherwise than the module's own preprocessing.
        wanted: fields of `Settings`: `labels`, `normalize`, ...

    Raises:
        InputError: settings that mean nothing, labels from a module without logits, or a size the
            module does not take.
    """
    info, own = module.info, module.preprocessing
    changes = {name: value for name, value in preprocessing.items() if value is not None}
    size: Any = changes.pop("size", (own.height, own.width))
    if size != (own.height, own.width) and info.fixed_size:
        raise InputError(
            f"the input size of {info.handle} is fixed to {info.image_size}. "
            f"Received: {size[0]}x{size[1]}"
        )
    fields: dict[str, Any] = {"height": size[0], "width": size[1], **changes}
    reject = wanted.pop("reject", None)
    settings = Settings(replace(own, **fields), module.compute, **wanted)
    if not settings.labels:
        if reject:
            raise InputError("images are rejected where labels are wanted. Received: labels=0")
        return settings
    if info.task != "classification":
        raise InputError(
            "labels need a module that classifies, e.g. "
            f"{find('google/imagenet/mobilenet_v2_140_224/classification').handle}. "
            f"Received: {info.handle}"
        )
    if not 0 <= settings.labels <= len(module.labels):
        raise InputError(
            f"labels must be from 0 to {len(module.labels)}. Received: {settings.labels}"
        )
    return replace(settings, reject=_rejects(module, settings, reject))


def _rejects(module: InferenceModule, settings: Settings, wanted: bool | None) -> bool:
    """Whether images that are none of the classes are told apart: where that can be, by default.

    Raises:
        InputError: the module's classifier has no threshold for it, or one that was fitted with
            another preprocessing or precision.
    """
    classifier = module.weights.classifier
    if classifier is None or classifier.reject_threshold is None:
        if wanted:
            raise InputError(
                "to reject images that are none of the classes takes a classifier with a threshold "
                f"for it, as `retrain` makes them. Received: {module.info.handle}"
            )
        return False
    fitted = (module.preprocessing, classifier.precision)
    used = (
        replace(settings.preprocessing, max_pixels=fitted[0].max_pixels),
        module.compute.precision,
    )
    if wanted is False or used == fitted:
        return wanted is not False
    raise InputError(
        "the threshold below which an image is none of the classes holds for the preprocessing and "
        f"precision it was fitted with, {_words(*fitted)}. Use these, or do without it "
        f"(--no-reject, reject=False). Received: {_words(*used)}"
    )


def _words(preprocessing: PreprocessingSettings, precision: Precision) -> str:
    how = preprocessing
    return f"{how.height}x{how.width} {how.crop} {how.resample} {precision}"


class Processor:
    """Computes batches of items with one module; safe to call from several threads.

    Args:
        module: what computes.
        settings: what to compute; see `settings_for`.
        done: says whether an item with that id, stamp and content hash needs no more work.
        threads: how many images are decoded and computed at once; one a core by default.

    Attributes:
        batch_items: how many items a call is best given (any number works).
    """

    def __init__(
        self,
        module: InferenceModule,
        settings: Settings,
        *,
        done: Callable[[str, Stamp | None, str], bool] | None = None,
        threads: int | None = None,
    ) -> None:
        self.module = module
        self.settings = settings
        self._preprocessing = settings.preprocessing
        self._done = done
        self._max_bytes = max_bytes(settings.preprocessing.max_pixels)
        cores = available_threads()
        self._weights = module.current_weights()
        self._workers = workers_of(module, settings, min(threads or cores, cores))
        self.batch_items = self._workers.buffer_images

    def __call__(self, items: Sequence[Item]) -> Results:
        """Read, decode and run some items.

        Returns:
            Their results, each item once and in order; items done before are only named.
        """
        results = Results()
        reading: Iterable[tuple[Item, _Read | None]] = ((item, self._read(item)) for item in items)
        if any(getattr(item, "remote", False) for item in items):
            reading = list(reading)  # waiting for a network must not keep a worker from others
        with self._workers.one() as worker:
            outputs: Outputs | None = None
            computed = filled = 0
            for item, read in reading:
                if read is None:
                    results.skipped.append(item.id)
                    continue
                outcome = self._decode(*read, worker, filled)
                results.outcomes.append(outcome)
                filled += not outcome.failed
                if filled == len(worker.pixels):
                    outputs = outputs or worker.outputs(len(items))
                    worker.run(filled, outputs, computed)
                    computed, filled = computed + filled, 0
            outputs = outputs or worker.outputs(len(items))
            if filled:
                worker.run(filled, outputs, computed)
        self._finish(results, {name: value[: computed + filled] for name, value in outputs.items()})
        return results

    def _read(self, item: Item) -> _Read | None:
        """The bytes of an item, or how they failed; None if it was done before."""
        content_hash, sha256 = self.settings.content_hash, ""
        try:
            if self._done and not content_hash and self._done(item.id, item.stamp(), ""):
                return None
            data, stamp = item.read(self._max_bytes)
            if content_hash:
                sha256 = hashlib.sha256(data).hexdigest()
                if self._done and self._done(item.id, stamp, sha256):
                    return None
        except Exception as error:  # one strange file must not end a run of millions; it is listed
            stage = error.stage if isinstance(error, ItemError) else "read"
            return b"", Outcome(item.id, item.path, stage=stage, reason=reason_of(error))
        return data, Outcome(item.id, item.path, stamp, sha256)

    def _decode(self, data: bytes, outcome: Outcome, worker: Worker, slot: int) -> Outcome:
        """Pixels of an item into a worker's buffer."""
        if outcome.failed:
            return outcome
        seen: dict[str, Any] = {}
        try:
            preprocess(data, self._preprocessing, worker.pixels[slot], outcome.path)
            if self.settings.perceptual_hash:
                seen["perceptual_hash"] = perceptual_hash(worker.pixels[slot])
            if self.settings.dimensions:
                limit = self._preprocessing.max_pixels
                size = upright_size(data, path=outcome.path, max_pixels=limit)
                seen["height"], seen["width"] = size
        except Exception as error:  # as above
            if isinstance(error, MemoryError):  # says nothing of the image, which is tried again
                outcome = replace(outcome, stamp=None, sha256="")
            return replace(outcome, stage="decode", reason=reason_of(error))
        return replace(outcome, **seen) if seen else outcome

    def _finish(self, results: Results, outputs: Outputs) -> None:
        """Turn outputs into what the settings ask for. Each row is computed for itself."""
        labels = self.settings.labels
        if self.settings.features:
            results.features = outputs[FEATURES if labels else "default"]
            if self.settings.normalize == "l2":
                results.features = l2_normalized(results.features)
        if labels:
            scores = probabilities(outputs[LOGITS], self._weights.classifier)
            results.label_indices, results.label_scores = top_k(scores, labels)
        if self.settings.reject:
            results.unknown = self._is_unknown(outputs[FEATURES])

    def _is_unknown(self, features: NDArray[np.float32]) -> NDArray[np.bool_]:
        classifier, prototypes = self._weights.classifier, self._weights.prototypes
        assert classifier is not None
        assert prototypes is not None
        assert classifier.reject_threshold is not None
        return similarity(features, prototypes) < classifier.reject_threshold


def reason_of(error: Exception) -> str:
    """Why an item failed, in words."""
    if isinstance(error, (ItemError, ImageError)):
        return error.reason
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"unexpected {type(error).__name__}: {error}"
