"""`embed`: feature vectors of many images, into a dataset or a file."""

from __future__ import annotations

import dataclasses
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mobilenet_hub.catalog import EMBED_MODULE
from mobilenet_hub.cli import options
from mobilenet_hub.cli.output import (
    EXIT_INTERRUPTED,
    end,
    note_passed_over,
    print_error,
    print_json,
    print_note,
)
from mobilenet_hub.cli.values import Shard, computed_by, opened
from mobilenet_hub.settings import MAX_PIXELS

if TYPE_CHECKING:
    from mobilenet_hub.pipeline.job import Summary


def embed_command(
    paths: options.Paths,
    output: options.Output,
    module: options.Module = EMBED_MODULE,
    crop: options.Crop = None,
    resample: options.Resample = None,
    size: options.InputSize = None,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    precision: options.Precision = "auto",
    engine: options.Engine = "openvino",
    normalize: options.Normalize = "none",
    labels: options.Labels = 0,
    reject: options.Reject = None,
    dtype: options.DType = "float32",
    dimensions: options.Dimensions = False,
    content_hash: options.ContentHash = False,
    perceptual_hash: options.PerceptualHash = False,
    part_items: options.PartItems = 10_000,
    errors: options.Errors = None,
    all_files: options.AllFiles = False,
    follow_links: options.FollowLinks = False,
    root: options.Root = None,
    path_column: options.PathColumn = None,
    image_column: options.ImageColumn = None,
    id_column: options.IdColumn = None,
    timeout: options.Timeout = None,
    restart: options.Restart = False,
    shard: options.ShardOfJob = None,
    threads: options.Threads = None,
    progress: options.Progress = "auto",
    as_json: options.JsonSummary = False,
    strict: options.Strict = False,
    executor: options.Executor = "local",
    address: options.Address = None,
) -> None:
    """Write the feature vectors of images to a dataset or file.

    Run again, the same command does only what is missing. Images that cannot be read are listed in
    _errors.jsonl in the folder, or NAME.errors.jsonl beside the file, each with the stage and
    the reason; the exit code is still 0 (3 with --strict), unless there was no other.
    """
    from mobilenet_hub.pipeline.job import embed_to
    from mobilenet_hub.pipeline.progress import make_progress

    if address is not None and executor != "ray":
        raise typer.BadParameter(f"--address needs --executor ray. Received: {address!r}")
    share = shard or Shard(0, 1)
    paths = _without_output(paths, output)
    source = opened(paths, all_files, follow_links, root, path_column, image_column, id_column)
    loaded = computed_by(module, engine, precision)
    execute = None
    if executor == "ray":
        from mobilenet_hub import ray

        execute = ray.make_executor(module, loaded, address=address, workers=threads)
    count = source.count if share.shares == 1 else lambda: None
    start = time.monotonic()
    with closing(make_progress(progress, count)) as shown:
        summary = embed_to(
            source, output, loaded, labels=labels, reject=reject,
            normalize=None if normalize == "none" else normalize, dtype=dtype,
            dimensions=dimensions, content_hash=content_hash, perceptual_hash=perceptual_hash,
            part_items=part_items, shard=share, restart=restart, errors=errors, threads=threads,
            progress=shown, executor=execute,
            size=size, crop=crop, resample=resample, max_pixels=max_pixels,
        )  # fmt: skip
    _report(summary, time.monotonic() - start, as_json=as_json)
    note_passed_over(source.passed_over)
    if summary.interrupted:
        print_error("interrupted; the same command goes on from here")
        raise typer.Exit(EXIT_INTERRUPTED)
    if share.shares > 1 and not (summary.failures and strict):
        return  # a share of few images may well have none
    end(summary.rows, summary.failures, strict=strict)


def _without_output(paths: list[str], output: Path) -> list[str]:
    """The words of the command line but for what an earlier run wrote: `embed * -o out.parquet`."""
    from mobilenet_hub.pipeline.dataset.formats import errors_path, files_of

    written = [path for path in (*files_of(output), errors_path(output)) if path.exists()]
    left = [
        path for path in paths
        if not (Path(path).exists() and any(map(Path(path).samefile, written)))
    ]  # fmt: skip
    if not left:
        raise typer.BadParameter(f"the output is the only source. Received: {paths[0]!r}")
    if len(left) < len(paths):
        print_note("what this command wrote before is left out of its sources")
    return left


def _report(summary: Summary, seconds: float, *, as_json: bool) -> None:
    counts = summary.counts
    if as_json:
        values = {
            **dataclasses.asdict(counts), "rows": summary.rows, "failures": summary.failures,
            "kept": summary.kept, "dropped": summary.dropped,
            "duplicates": summary.duplicates, "renamed": summary.renamed,
            "output": str(summary.output),
            "errors": str(summary.errors) if summary.failures else None,
            "interrupted": summary.interrupted, "seconds": round(seconds, 3),
        }  # fmt: skip
        print_json(values)
        return
    rate = counts.done / max(seconds, 1e-9)
    words = [f"{counts.done:,} embedded in {seconds:.1f} s ({rate:,.0f} images/s)"]
    if counts.skipped:
        words.append(f"{counts.skipped:,} done before")
    if summary.duplicates:
        words.append(f"{summary.duplicates:,} named twice")
    if summary.renamed:
        words.append(f"{summary.renamed:,} had the id of another and got one of their own (ID#2)")
    where = "to go on from" if summary.interrupted else f"in {summary.output}"
    words.append(f"{summary.rows:,} rows {where}")
    if summary.dropped:
        words.append(f"{summary.dropped:,} rows of images not named this time taken out")
    if summary.kept:
        words.append(f"{summary.kept:,} of them of images that cannot be had now, as they were")
    if summary.failures:
        words.append(f"{summary.failures:,} failed, listed in {summary.errors}")
    print_note("; ".join(words))


COMMANDS = {"embed": embed_command}
