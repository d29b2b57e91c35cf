"""`embed_to`: a source into a dataset or file, from start to end. What the command does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from mobilenet_hub import __version__
from mobilenet_hub.errors import InputError
from mobilenet_hub.module import Module
from mobilenet_hub.pipeline.dataset import formats as sinks
from mobilenet_hub.pipeline.dataset import single_file as packing
from mobilenet_hub.pipeline.dataset.id_sets import DigestSet, digest
from mobilenet_hub.pipeline.dataset.manifest import Done
from mobilenet_hub.pipeline.dataset.parquet import Layout
from mobilenet_hub.pipeline.dataset.writer import PART_ITEMS, Dataset, Shard
from mobilenet_hub.pipeline.parallel import Blocks, run
from mobilenet_hub.pipeline.processor import Processor, Settings
from mobilenet_hub.pipeline.progress import Counts, Progress
from mobilenet_hub.pipeline.results import Failed
from mobilenet_hub.pipeline.sources.items import Item
from mobilenet_hub.pipeline.sources.source import Source
from mobilenet_hub.pipeline.stop import Stop
from mobilenet_hub.weights.canonical import fingerprint

Runner = Callable[[Settings, Done, Iterable[Item]], Blocks]


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended.

    Attributes:
        counts: of this run.
        rows: in the output, from this run and those before.
        failures: listed in `errors`, likewise.
        duplicates: items left out because an earlier one has the same id.
        output: file or folder.
        errors: the list of failures.
        interrupted: whether it was stopped by a signal before its end.
    """

    counts: Counts
    rows: int
    failures: int
    duplicates: int
    output: Path
    errors: Path
    interrupted: bool


def embed_to(
    output: str | os.PathLike[str],
    source: Source,
    module: Module,
    settings: Settings,
    *,
    dtype: Literal["float32", "float16"] = "float32",
    part_items: int = PART_ITEMS,
    shard: Shard = (0, 1),
    restart: bool = False,
    errors: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    runner: Runner | None = None,
) -> Summary:
    """Embed a source into a dataset; taken up where it was if it is there already.

    Args:
        output: a file (`.parquet`, `.npy`, `.csv`, `.lance`), or a folder for a dataset of parts.
        source: see `sources.open_sources`.
        module: what computes.
        settings: what is computed.
        dtype: of the embeddings on disk.
        part_items: how many items go into one part.
        shard: (i, n) takes those items whose id falls to the i-th of n runs, counted from 0.
        restart: begin anew, whatever is there.
        errors: where to list the failures, as `.jsonl` or `.parquet`; by default
            `OUT/_errors.jsonl`, or beside a file and only if there are any.
        threads: how many images to read and decode at once.
        progress: told of every block.
        runner: who computes the blocks; threads of this process by default.

    Returns:
        What was done. On SIGINT or SIGTERM the open part is committed and the summary says so; a
        second signal ends at once, which loses the open part and nothing else.

    Raises:
        DatasetError: what is there was made with other settings, or another run is writing to it.
        InputError: the output cannot hold what is asked for.
        OSError: the output cannot be written; what was committed is taken up by the next run.
    """
    path = Path(output)
    if errors is not None and Path(errors).suffix.lower() not in (".jsonl", ".parquet"):
        raise InputError(f"errors are listed as .jsonl or .parquet. Received: {str(errors)!r}")
    if errors is not None and not _is_apart(Path(errors).absolute(), path.absolute()):
        raise InputError(
            "errors are listed in a file of their own, in a folder that exists. "
            f"Received: {str(errors)!r}"
        )
    layout, described = _describe(module, settings, dtype)
    single = packing.is_single(path)
    if single:
        packing.check_output(path, layout, restart=restart)
        if shard != (0, 1):
            raise InputError(f"a shard needs a folder as output. Received: {str(path)!r}")
    dataset = Dataset(
        packing.work_folder(path) if single else path, layout, described, part_items=part_items,
        shard=shard, restart=restart,
        elsewhere=partial(packing.begin, path, restart=restart) if single else frozenset,
    )  # fmt: skip
    counts, unlisted = Counts(), False
    with dataset, Stop() as stop:
        items = _Selection(source, shard, remember=single)
        if runner is None:
            processor = Processor(module, settings, done=dataset.done, threads=threads)
            blocks = run(processor, items, threads=threads)
        else:
            blocks = runner(settings, dataset.done, items)
        with closing(blocks):
            while (block := stop.waiting_for(blocks)) is not None:
                dataset.add(block)
                failed = [entry for entry in block.entries if isinstance(entry, Failed)]
                unlisted |= any(entry.failure.stage == "list" for entry in failed)
                counts.failed += len(failed)
                counts.done += len(block.entries) - len(failed)
                counts.skipped += block.skipped
                if progress is not None:
                    progress.update(counts)
        dataset.finish()
        interrupted = stop.requested
        if single and not interrupted and not unlisted:  # else the source is not known whole
            if not items.seen and dataset.parts():
                raise InputError(
                    "the source names no images; the output stays as it was. "
                    f"Received: {str(path)!r}"
                )
            dataset.keep_only(items.seen)
        rows, failures = dataset.counts()
        listed = sinks.errors_path(path) if single else dataset.errors_path
        if errors is not None:
            listed = Path(errors)
        if single and errors is None and not failures:
            listed.unlink(missing_ok=True)  # beside a file, an empty list would say nothing
        else:
            sinks.write_failures(listed, dataset.failures())
        if single and not interrupted:
            packing.pack(path, dataset, layout)
    return Summary(counts, rows, failures, items.duplicates, path, listed, interrupted)


def _is_apart(errors: Path, output: Path) -> bool:
    """Whether a list of errors can be written, and not over the output."""
    return errors != output and (errors.parent.is_dir() or errors.parent == output)


class _Selection:
    """The items of one shard, each id once.

    Args:
        source: of the items.
        shard: which of them.
        remember: whether `seen` is wanted though the source names nothing twice.

    Attributes:
        duplicates: how many were left out because an earlier one has the same id.
        seen: digests of the ids so far.
    """

    def __init__(self, source: Source, shard: Shard, *, remember: bool) -> None:
        self.duplicates = 0
        self.seen = DigestSet()
        self._source = source
        self._shard = shard
        self._remember = remember or not source.distinct

    def __iter__(self) -> Iterator[Item]:
        index, shards = self._shard
        for item in self._source.items():
            if shards > 1 and int.from_bytes(digest(item.id)[:8], "big") % shards != index:
                continue
            if self._remember and not self.seen.add(digest(item.id)):
                self.duplicates += 1
                continue
            yield item


def _describe(
    module: Module, settings: Settings, dtype: Literal["float32", "float16"]
) -> tuple[Layout, Mapping[str, Any]]:
    """The layout of the rows, and all that determines what is in them."""
    info = module.info
    height, width = settings.size or (info.image_size, info.image_size)
    described = {
        "handle": info.handle,
        "weights_sha256": fingerprint(module.weights),
        "crop": settings.crop,
        "resample": settings.resample,
        "max_pixels": settings.max_pixels,
        "height": height,
        "width": width,
        "normalize": settings.normalize,
        "labels": settings.labels,
        "dtype": dtype,
        "dimensions": settings.dimensions,
        "content_hash": settings.content_hash,
        "library_version": __version__,
    }
    layout = Layout(
        features=module.weights.network.num_features,
        dtype=dtype,
        labels=settings.labels,
        dimensions=settings.dimensions,
        content_hash=settings.content_hash,
        metadata=described,
    )
    return layout, described
