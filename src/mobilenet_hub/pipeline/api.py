"""`hub.embed` and `hub.classify`: the pipeline as plain generators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from mobilenet_hub.errors import InputError
from mobilenet_hub.images import MAX_PIXELS, Crop, Resample
from mobilenet_hub.module import Module
from mobilenet_hub.pipeline.parallel import Blocks, run
from mobilenet_hub.pipeline.processor import Normalize, Processor, Settings
from mobilenet_hub.pipeline.records import Classification, Embedding, Failure
from mobilenet_hub.pipeline.results import Failed
from mobilenet_hub.pipeline.sources.items import Item
from mobilenet_hub.pipeline.sources.resolve import open_sources
from mobilenet_hub.pipeline.sources.source import SourceLike, SourceOptions

EMBED_MODULE = "google/imagenet/mobilenet_v2_100_224/feature_vector/5"
CLASSIFY_MODULE = "google/imagenet/mobilenet_v2_140_224/classification/5"


def embed(
    source: SourceLike,
    module: Module | str = EMBED_MODULE,
    *,
    labels: int = 0,
    normalize: Normalize | None = None,
    crop: Crop = "center",
    resample: Resample = "bilinear",
    size: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
    threads: int | None = None,
    options: SourceOptions | None = None,
) -> Iterator[Embedding | Failure]:
    """Feature vectors of many images, on all cores, in constant memory.

    ```python
    for record in hub.embed("photos/"):
        if record.ok:
            print(record.id, record.embedding.shape)
        else:
            print(record.id, record.stage, record.reason)
    ```

    Args:
        source: folder, image, glob, list, archive, table, URL, or an iterable of these, of
            `(id, bytes)` pairs or of items: see `pipeline.sources.open_sources`.
        module: a module or its handle.
        labels: how many of the most likely classes to add to each record (the module must be one
            that classifies).
        normalize: `l2` scales each vector to length 1.
        crop: see `images.Preprocessing`.
        resample: see there.
        max_pixels: see there.
        size: height and width to resize to, where the module's input size is not fixed.
        threads: how many images to read and decode at once; one a core by default.
        options: how to read sources.

    Returns:
        An iterator with one record for each item, in the order of the source. An image's result
        does not depend, to the last bit, on the images around it. Closing the iterator ends the
        work.

    Raises:
        SourceError: the source does not exist.
        UnknownHandleError, MissingWeightsError: the module cannot be had.
        InputError: settings that mean nothing, or labels from a module without logits.
    """
    settings = Settings(
        labels=labels, normalize=normalize, crop=crop, resample=resample, size=size,
        max_pixels=max_pixels,
    )  # fmt: skip
    opened = open_sources(source, options)
    processor = Processor(module, settings, threads=threads)
    blocks = run(processor, opened.items(), threads=threads)
    return embeddings(blocks)


def classify(
    source: SourceLike,
    module: Module | str = CLASSIFY_MODULE,
    *,
    top_k: int = 5,
    crop: Crop = "center",
    resample: Resample = "bilinear",
    size: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
    threads: int | None = None,
    options: SourceOptions | None = None,
) -> Iterator[Classification | Failure]:
    """The most likely classes of many images, on all cores, in constant memory.

    Args:
        source: see `embed`.
        module: a module of task `classification`, or its handle.
        top_k: how many classes.
        crop: see `embed`, as for all that follow.
        resample: how to resize.
        size: height and width to resize to.
        max_pixels: of the largest picture to decode.
        threads: how many images to read and decode at once.
        options: how to read sources.

    Returns:
        An iterator with one record for each item, in the order of the source.

    Raises:
        SourceError, UnknownHandleError, MissingWeightsError, InputError: as `embed`.
    """
    if top_k < 1:
        raise InputError(f"top_k must be at least 1. Received: {top_k}")
    settings = Settings(
        features=False, labels=top_k, crop=crop, resample=resample, size=size,
        max_pixels=max_pixels,
    )  # fmt: skip
    opened = open_sources(source, options)
    processor = Processor(module, settings, threads=threads)
    return _classifications(run(processor, opened.items(), threads=threads))


def classify_one(
    item: Item,
    module: Module | str = CLASSIFY_MODULE,
    *,
    top_k: int = 5,
    crop: Crop = "center",
    resample: Resample = "bilinear",
    size: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Classification | Failure:
    """One image, in the least time from a cold start: compiled for a single image.

    Scores may differ from `classify`'s in the last bits.
    """
    settings = Settings(
        features=False, labels=top_k, crop=crop, resample=resample, size=size,
        max_pixels=max_pixels,
    )  # fmt: skip
    processor = Processor(module, settings, single=True)
    return next(_classifications(run(processor, [item], threads=1)))


def embeddings(blocks: Blocks) -> Iterator[Embedding | Failure]:
    """Blocks as records."""
    with closing(blocks):
        for block in blocks:
            labels = block.labels()
            rows = iter(range(len(block.features)))
            for entry in block.entries:
                if isinstance(entry, Failed):
                    yield entry.failure
                    continue
                row = next(rows)
                yield Embedding(entry.id, entry.path, block.features[row], labels[row])


def _classifications(blocks: Blocks) -> Iterator[Classification | Failure]:
    with closing(blocks):
        for block in blocks:
            labels = iter(block.labels())
            for entry in block.entries:
                if isinstance(entry, Failed):
                    yield entry.failure
                else:
                    yield Classification(entry.id, entry.path, next(labels))
