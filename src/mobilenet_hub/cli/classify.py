"""`classify`: what is in these images?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict
from functools import cache
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from mobilenet_hub.catalog import CLASSIFY_MODULE
from mobilenet_hub.cli import options
from mobilenet_hub.cli.output import (
    end,
    note_passed_over,
    print_json,
    print_note,
    print_table,
    printable,
)
from mobilenet_hub.cli.values import computed_by, opened
from mobilenet_hub.settings import MAX_PIXELS

if TYPE_CHECKING:
    from mobilenet_hub.pipeline.records import Classification, Failure

_TABLE_IMAGES = 100  # images in one table on a terminal; memory stays flat in a long run


def classify_command(
    paths: options.Paths,
    module: options.Classifier = CLASSIFY_MODULE,
    top_k: options.TopK = 5,
    reject: options.Reject = None,
    crop: options.Crop = None,
    resample: options.Resample = None,
    size: options.InputSize = None,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    precision: options.Precision = "auto",
    engine: options.Engine = "openvino",
    threads: options.Threads = None,
    all_files: options.AllFiles = False,
    follow_links: options.FollowLinks = False,
    root: options.Root = None,
    path_column: options.PathColumn = None,
    image_column: options.ImageColumn = None,
    id_column: options.IdColumn = None,
    timeout: options.Timeout = None,
    as_json: options.JsonLines = False,
    strict: options.Strict = False,
) -> None:
    """Print the most likely labels of images, with probabilities.

    Of a classifier that can tell (`retrain` makes them), images that are none of its classes are
    called unknown.

    Images that cannot be read are listed on standard error; the exit code is still 0 (3 with
    --strict), unless there was no other.
    """
    from mobilenet_hub.pipeline.api import classify

    source = opened(paths, all_files, follow_links, root, path_column, image_column, id_column)
    records = classify(
        source.items(), computed_by(module, engine, precision), top_k=top_k, reject=reject,
        threads=threads, crop=crop, resample=resample, size=size, max_pixels=max_pixels,
    )  # fmt: skip
    run = _Run(records, source.count)
    if as_json:
        for record in run.page(None):
            print_json(_as_json(record))
    else:
        _print_tables(run)
    note_passed_over(source.passed_over)
    end(run.counts.done, run.counts.failed, strict=strict)


class _Run:
    """The records of a run, page by page: counts them, shows progress, reports failures."""

    def __init__(
        self,
        records: Iterator[Classification | Failure],
        count: Callable[[], int | None],
    ) -> None:
        from mobilenet_hub.pipeline.results import Counts

        self._records = records
        self._total = cache(count)  # pages share it
        self.counts = Counts()

    def page(self, size: int | None) -> Iterator[Classification | Failure]:
        """The next records, all if None, with a progress bar of their own."""
        from mobilenet_hub.pipeline.progress import make_progress

        if (first := next(self._records, None)) is None:
            return
        # Single lines on a terminal are progress enough, and a bar would run into them.
        bar_fits = size is not None or not sys.stdout.isatty()
        with closing(make_progress("auto" if bar_fits else "none", self._total)) as progress:
            for record in chain((first,), islice(self._records, size and size - 1)):
                if record.ok:
                    self.counts.done += 1
                else:
                    self.counts.failed += 1
                    print_note(f"{printable(record.id)}: {record.reason}")
                progress.update(self.counts)
                yield record


def _as_json(record: Classification | Failure) -> dict[str, Any]:
    if not record.ok:
        return {"id": record.id, "error": {"stage": record.stage, "reason": record.reason}}
    labels = [asdict(label) for label in record.labels]
    return {"id": record.id, "labels": labels} | ({"unknown": True} if record.unknown else {})


def _print_tables(run: _Run) -> None:
    columns = [("image", "cyan"), ("label", "bold"), ("#probability", "green")]
    if not sys.stdout.isatty():
        print_table("", columns, _lines(run.page(None), every_line=True))
        return
    while page := list(run.page(_TABLE_IMAGES)):
        print_table("", columns, _lines(page, every_line=False))


def _lines(records: Iterable[Classification | Failure], *, every_line: bool) -> Iterator[list[str]]:
    """One line a label; for people the image is named on its first only."""
    for record in records:
        if not record.ok:
            continue
        if record.unknown:
            yield [record.id, "unknown", ""]
            continue
        for rank, label in enumerate(record.labels):
            image = record.id if every_line or rank == 0 else ""
            yield [image, label.name, f"{label.score:.4f}"]


COMMANDS = {"classify": classify_command}
