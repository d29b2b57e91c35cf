"""`hub.embed` and `hub.classify`: the pipeline as plain generators."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, TypeVar, Unpack

from mobilenet_hub.catalog import CLASSIFY_MODULE, EMBED_MODULE
from mobilenet_hub.errors import InputError
from mobilenet_hub.inference import in_inference
from mobilenet_hub.pipeline.parallel import ResultStream, process_all
from mobilenet_hub.pipeline.processor import Processor, settings_for
from mobilenet_hub.pipeline.records import Classification, Embedding, Failure, Label
from mobilenet_hub.pipeline.results import Results
from mobilenet_hub.pipeline.sources.resolve import open_sources
from mobilenet_hub.pipeline.sources.source import SourceLike, SourceOptions
from mobilenet_hub.settings import Normalize, PreprocessingChoices
from mobilenet_hub.weights.resolve import Spec

_Record = TypeVar("_Record", Embedding, Classification)


def embed(
    source: SourceLike,
    module: Spec = EMBED_MODULE,
    *,
    labels: int = 0,
    reject: bool | None = None,
    normalize: Normalize | None = None,
    threads: int | None = None,
    options: SourceOptions | None = None,
    **preprocessing: Unpack[PreprocessingChoices],
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
        reject: see `classify`.
        normalize: `l2` scales each vector to length 1.
        threads: how many images to read and decode at once; one a core by default.
        options: how to read sources.
        **preprocessing: `crop`, `resample`, `max_pixels`: see `hub.Preprocessing`; `size`: height
            and width to resize to, where the module's input size is not fixed. What is not given
            is as `module.preprocessing` has it.

    Returns:
        An iterator with one record for each item, in the order of the source. An image's result
        does not depend, to the last bit, on the images around it. Closing the iterator ends the
        work.

    Raises:
        SourceError: the source does not exist.
        UnknownHandleError, MissingWeightsError: the module cannot be had.
        InputError: settings that mean nothing, or labels from a module without logits.
    """
    loaded = in_inference(module)
    settings = settings_for(
        loaded, preprocessing, labels=labels, reject=reject, normalize=normalize
    )
    opened = open_sources(source, options)
    processor = Processor(loaded, settings, threads=threads)
    return embeddings(process_all(processor, opened.items(), threads=threads), loaded.labels)


def classify(
    source: SourceLike,
    module: Spec = CLASSIFY_MODULE,
    *,
    top_k: int = 5,
    reject: bool | None = None,
    threads: int | None = None,
    options: SourceOptions | None = None,
    **preprocessing: Unpack[PreprocessingChoices],
) -> Iterator[Classification | Failure]:
    """The most likely classes of many images, on all cores, in constant memory.

    ```python
    for record in hub.classify("photos/"):
        print(record.id, record.labels[0].name if record.ok else record.reason)
    ```

    Args:
        source: see `embed`.
        module: a module of task `classification`, or its handle.
        top_k: how many classes; all, if the module has fewer.
        reject: whether to say which images are none of the classes (`record.unknown`); by default
            of classifiers that can tell: those with prototypes and a threshold.
        threads: how many images to read and decode at once.
        options: how to read sources.
        **preprocessing: `crop`, `resample`, `size` (height and width to resize to) and `max_pixels`
            (of the largest picture to decode): see `embed`.

    Returns:
        An iterator with one record for each item, in the order of the source.

    Raises:
        SourceError, UnknownHandleError, MissingWeightsError, InputError: as `embed`.
    """
    if top_k < 1:
        raise InputError(f"top_k must be at least 1. Received: {top_k}")
    loaded = in_inference(module)
    labels = min(top_k, len(loaded.labels) or 1)  # of none, settings_for says so
    settings = settings_for(loaded, preprocessing, features=False, labels=labels, reject=reject)
    opened = open_sources(source, options)
    processor = Processor(loaded, settings, threads=threads)
    stream = process_all(processor, opened.items(), threads=threads)
    return _records(
        stream,
        lambda results: zip(_labels(results, loaded.labels), _unknown(results), strict=True),
        Classification,
    )


def embeddings(stream: ResultStream, names: Sequence[str] = ()) -> Iterator[Embedding | Failure]:
    """Results as records; the labels in them, if any, have these names."""
    return _records(
        stream,
        lambda results: zip(
            results.features, _labels(results, names), _unknown(results), strict=True
        ),
        Embedding,
    )


def _records(
    stream: ResultStream,
    rows_of: Callable[[Results], Iterable[tuple[Any, ...]]],
    make: Callable[..., _Record],
) -> Iterator[_Record | Failure]:
    """A record for each outcome: made of the next row of the results, or of the failure."""
    with closing(stream):
        for results in stream:
            rows = iter(rows_of(results))
            for outcome in results.outcomes:
                if outcome.stage is not None:
                    yield Failure(outcome.id, outcome.path, outcome.stage, outcome.reason)
                else:
                    yield make(outcome.id, outcome.path, *next(rows))


def _unknown(results: Results) -> list[bool]:
    """Whether each row is none of the classes; that is not said where it was not asked."""
    return results.unknown.tolist() or [False] * len(results.rows)


def _labels(results: Results, names: Sequence[str]) -> list[tuple[Label, ...]]:
    """The labels of each row, in words; empty where none were asked for."""
    if results.label_indices.size == 0:
        return [() for _ in results.rows]
    return [
        tuple(
            Label(index, names[index], score) for index, score in zip(indices, scores, strict=True)
        )
        for indices, scores in zip(
            results.label_indices.tolist(), results.label_scores.tolist(), strict=True
        )
    ]
