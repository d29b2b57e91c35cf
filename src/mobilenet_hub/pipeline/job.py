"""`hub.embed_to`: a source into a dataset or file, from start to end. What the command does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Unpack

from mobilenet_hub import __version__
from mobilenet_hub.catalog import EMBED_MODULE
from mobilenet_hub.errors import InputError
from mobilenet_hub.files import advice_where_full
from mobilenet_hub.inference import InferenceModule, in_inference
from mobilenet_hub.pipeline.dataset import formats, single_file
from mobilenet_hub.pipeline.dataset.manifest import Done
from mobilenet_hub.pipeline.dataset.ownership import refuse_other_errors
from mobilenet_hub.pipeline.dataset.parquet import Layout
from mobilenet_hub.pipeline.dataset.writer import PART_ITEMS, DatasetWriter, Shard
from mobilenet_hub.pipeline.parallel import ResultStream, process_all
from mobilenet_hub.pipeline.processor import Processor, settings_for
from mobilenet_hub.pipeline.progress import Progress
from mobilenet_hub.pipeline.results import Counts
from mobilenet_hub.pipeline.selection import Selection
from mobilenet_hub.pipeline.sources.items import Item
from mobilenet_hub.pipeline.sources.resolve import open_sources
from mobilenet_hub.pipeline.sources.source import Source, SourceLike, SourceOptions
from mobilenet_hub.pipeline.stop import Stop
from mobilenet_hub.settings import DType, Normalize, PreprocessingChoices, Settings
from mobilenet_hub.verification.remembered import remembered
from mobilenet_hub.weights.resolve import Spec

Executor = Callable[[Settings, Done, Iterable[Item]], ResultStream]
_WHERE_FULL = "make room, and the same command goes on from what was committed"


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended.

    Attributes:
        counts: of this run.
        rows: in the output, from this run and those before.
        failures: listed in `errors`, likewise.
        kept: of these, items that could not be had this time and have a row from before.
        dropped: rows taken out of a single file, of items that were not named this time.
        duplicates: items left out because they came before.
        renamed: items that got an id of their own, because an earlier one has theirs.
        output: file or folder.
        errors: the list of failures.
        interrupted: whether it was stopped by a signal before its end.
    """

    counts: Counts
    rows: int
    failures: int
    kept: int
    dropped: int
    duplicates: int
    renamed: int
    output: Path
    errors: Path
    interrupted: bool


def embed_to(
    source: SourceLike | Source,
    output: str | os.PathLike[str],
    module: Spec = EMBED_MODULE,
    *,
    labels: int = 0,
    reject: bool | None = None,
    normalize: Normalize | None = None,
    dtype: DType = "float32",
    dimensions: bool = False,
    content_hash: bool = False,
    perceptual_hash: bool = False,
    part_items: int = PART_ITEMS,
    shard: Shard = (0, 1),
    restart: bool = False,
    errors: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    options: SourceOptions | None = None,
    progress: Progress | None = None,
    executor: Executor | None = None,
    **preprocessing: Unpack[PreprocessingChoices],
) -> Summary:
    """Embed a source into a dataset or file; taken up where it was if it is there already.

    ```python
    summary = hub.embed_to("photos/", "features.parquet")
    print(summary.rows, "rows;", summary.failures, "failed, listed in", summary.errors)
    ```

    Args:
        source: see `hub.embed`.
        output: a file (`.parquet`, `.npy`, `.csv`), or a folder for a dataset of parts.
        module: a module or its handle.
        labels: how many of the most likely classes to add to each row (the module must be one that
            classifies).
        reject: whether to add a column `unknown`; see `hub.classify`.
        normalize: `l2` scales each vector to length 1.
        dtype: of the embeddings on disk.
        dimensions: add each picture's width and height, in pixels, upright.
        content_hash: add the sha256 of each image's bytes, and tell by it whether an image changed
            since the last run, not by size and time.
        perceptual_hash: add 64 hexadecimal digits which copies of a picture share, in any size,
            format and quality (not its crops); `duplicates` finds copies by it.
        part_items: how many items go into one part.
        shard: (i, n) takes those items whose id falls to the i-th of n runs, counted from 0.
        restart: begin anew, whatever is there.
        errors: where to list the failures, as `.jsonl` or `.parquet`; by default
            `OUT/_errors.jsonl`, or beside a file and only if there are any.
        threads: how many images to read and decode at once; one a core by default.
        options: how to read sources.
        progress: told of the counts after each few items.
        executor: who computes the results (see `hub.ray.make_executor`); threads of this process
            by default.
        **preprocessing: see `hub.embed`.

    Returns:
        What was done. On SIGINT or SIGTERM the open part is committed and the summary says so; a
        second signal ends at once, which loses the open part and nothing else.

    Raises:
        SourceError: the source does not exist.
        DatasetError: what is there was made with other settings, or another run is writing to it.
        InputError: the output cannot hold what is asked for, or settings that mean nothing.
        OSError: the output cannot be written; what was committed is taken up by the next run.
    """
    path = Path(output)
    opened = source if isinstance(source, Source) else open_sources(source, options)
    loaded = in_inference(module)
    settings = settings_for(
        loaded, preprocessing, labels=labels, reject=reject, normalize=normalize, dtype=dtype,
        dimensions=dimensions, content_hash=content_hash,
        perceptual_hash=perceptual_hash,
    )  # fmt: skip
    single = formats.is_single(path)
    if errors is not None:
        _check_errors(Path(errors), path)
    elif single:
        refuse_other_errors(formats.errors_path(path))
    if single:
        single_file.check_output(path, settings, restart=restart)
        if shard != (0, 1):
            raise InputError(f"a shard needs a folder as output. Received: {str(path)!r}")
    layout = _layout(loaded, settings)
    begin = partial(single_file.begin, path, layout, restart=restart)
    dataset = DatasetWriter(
        single_file.work_folder(path) if single else path, layout, part_items=part_items,
        shard=shard, restart=restart, find_moved=begin if single else frozenset,
    )  # fmt: skip
    counts, dropped, incomplete = Counts(), 0, False
    with advice_where_full(_WHERE_FULL), dataset, Stop() as stop:
        items = Selection(opened, shard, remember=single)
        if executor is None:
            processor = Processor(loaded, settings, done=dataset.done, threads=threads)
            stream = process_all(processor, items, threads=threads)
        else:
            stream = executor(settings, dataset.done, items)
        with closing(stream):
            while (results := stop.waiting_for(stream)) is not None:
                dataset.add(results)
                incomplete |= single and any(map(dataset.may_hide_others, results.outcomes))
                counts.add(results)
                if progress is not None:
                    progress.update(counts)
        interrupted = stop.requested
        dataset.finish(whole=not interrupted)
        if single and not interrupted and not incomplete:
            if not items.seen and dataset.parts():
                raise InputError(
                    "the source names no images; the output stays as it was. "
                    f"Received: {str(path)!r}"
                )
            dropped = dataset.keep_only(items.seen)
        rows, failures = dataset.counts()
        listed = Path(errors or (formats.errors_path(path) if single else dataset.errors_path))
        if single and errors is None and not failures:
            listed.unlink(missing_ok=True)  # beside a file, an empty list would say nothing
        else:
            formats.write_failures(listed, dataset.failures() if failures else ())
        if single and not interrupted and (rows or path.exists()):  # a file of no rows is nothing
            single_file.pack(path, dataset)
    return Summary(
        counts, rows, failures, dataset.kept, dropped, items.duplicates, items.renamed, path,
        listed, interrupted,
    )  # fmt: skip


def _check_errors(errors: Path, output: Path) -> None:
    """Refuse a list of errors that cannot be written, or only over something else."""
    if errors.suffix.lower() not in (".jsonl", ".parquet"):
        raise InputError(f"errors are listed as .jsonl or .parquet. Received: {str(errors)!r}")
    errors, output = errors.absolute(), output.absolute()
    if errors == output or not (errors.parent.is_dir() or errors.parent == output):
        raise InputError(
            "errors are listed in a file of their own, in a folder that exists. "
            f"Received: {str(errors)!r}"
        )
    refuse_other_errors(errors)


def _layout(module: InferenceModule, settings: Settings) -> Layout:
    """The columns of the rows, and all that determines what is in them."""
    weights = module.current_weights()
    metadata = {
        **module.identity(settings.preprocessing.size),
        **settings.to_dict(),
        "library_version": __version__,
        "verification": remembered(module),
    }
    labels = module.labels if settings.labels else ()
    return Layout(weights.network.num_features, settings, metadata, labels)
