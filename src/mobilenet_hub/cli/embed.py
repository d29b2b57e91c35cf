"""`embed`: feature vectors of many images, into a dataset or a file."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobilenet_hub.cli import choices

if TYPE_CHECKING:
    from mobilenet_hub.pipeline.job import Summary

_SOURCES, _RESULTS, _RUN = "Sources", "Results", "Run"


class _Normalize(StrEnum):
    NONE = "none"
    L2 = "l2"


class _DType(StrEnum):
    FLOAT32 = "float32"
    FLOAT16 = "float16"


class _Progress(StrEnum):
    AUTO = "auto"
    BAR = "bar"
    JSON = "json"
    NONE = "none"


class _Engine(StrEnum):
    LOCAL = "local"
    RAY = "ray"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("embed")(embed_command)


def embed_command(
    paths: choices.Paths,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="PATH", show_default=False,
            help="A folder for a dataset of Parquet parts; or one file, by its suffix: .parquet, "
            ".npy (and .ids.txt), .csv, .lance.",
        ),
    ],
    module: Annotated[
        str, typer.Option("--module", "-m", metavar="HANDLE_OR_PATH", help="What computes.")
    ] = "google/imagenet/mobilenet_v2_100_224/feature_vector/5",
    crop: choices.Crop = choices.CropChoice.CENTER,
    resample: choices.Resample = choices.ResampleChoice.BILINEAR,
    size: choices.Size = None,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Refuse larger pictures.", show_default="178956970")
    ] = None,
    normalize: Annotated[
        _Normalize,
        typer.Option(help="l2: scale each vector to length 1.", rich_help_panel=_RESULTS),
    ] = _Normalize.NONE,
    labels: Annotated[
        int,
        typer.Option(
            min=0, max=1001, rich_help_panel=_RESULTS,
            help="Add so many labels and scores; needs a module of task classification.",
        ),
    ] = 0,
    dtype: Annotated[
        _DType, typer.Option(help="Of the vectors on disk.", rich_help_panel=_RESULTS)
    ] = _DType.FLOAT32,
    dimensions: Annotated[
        bool,
        typer.Option(
            "--dimensions", help="Add each picture's width and height.", rich_help_panel=_RESULTS
        ),
    ] = False,
    content_hash: Annotated[
        bool,
        typer.Option(
            "--content-hash", rich_help_panel=_RESULTS,
            help="Add the sha256 of each file, and tell by it, not by size and time, whether it "
            "changed since the last run.",
        ),
    ] = False,
    part_items: Annotated[
        int, typer.Option(min=1, help="Images in one part.", rich_help_panel=_RESULTS)
    ] = 10_000,
    errors: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to list the images that failed, as .jsonl or .parquet.",
            show_default="OUT/_errors.jsonl, or NAME.errors.jsonl beside a file",
            rich_help_panel=_RESULTS,
        ),
    ] = None,
    all_files: Annotated[
        bool,
        typer.Option(
            "--all-files", rich_help_panel=_SOURCES,
            help="Take every file of folders and archives, not only those named like images.",
        ),
    ] = False,
    follow_links: Annotated[
        bool,
        typer.Option(
            "--follow-links", help="Enter linked folders.", rich_help_panel=_SOURCES
        ),
    ] = False,
    root: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", rich_help_panel=_SOURCES,
            help="What relative paths in lists are relative to; the current folder by default.",
        ),
    ] = None,
    path_column: Annotated[
        str | None, typer.Option(help="Column of paths in lists.", rich_help_panel=_SOURCES)
    ] = None,
    image_column: Annotated[
        str | None, typer.Option(help="Column of images in tables.", rich_help_panel=_SOURCES)
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column of ids in both.", rich_help_panel=_SOURCES)
    ] = None,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", help="Begin anew instead of going on.", rich_help_panel=_RUN
        ),
    ] = False,
    shard: Annotated[
        str,
        typer.Option(
            metavar="I/N", rich_help_panel=_RUN,
            help="Do the I-th of N shares, I from 0 to N-1; all may write to one folder.",
        ),
    ] = "0/1",
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="Images read and decoded at once; with Ray, workers.",
            show_default="one a core",
            rich_help_panel=_RUN,
        ),
    ] = None,
    progress: Annotated[
        _Progress,
        typer.Option(
            help="auto: a bar on a terminal; json: a line a second on standard error.",
            rich_help_panel=_RUN,
        ),
    ] = _Progress.AUTO,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON.", rich_help_panel=_RUN)
    ] = False,
    strict: choices.Strict = False,
    engine: Annotated[
        _Engine, typer.Option(help="ray: on a Ray cluster.", rich_help_panel=_RUN)
    ] = _Engine.LOCAL,
    address: Annotated[
        str | None,
        typer.Option(
            help="Of the Ray cluster; by default the one that is running, else one of this "
            "machine alone.",
            rich_help_panel=_RUN,
        ),
    ] = None,
) -> None:  # fmt: skip
    """Write the feature vectors of images to a dataset or file.

    Run again, the same command does only what is missing. Images that cannot be read are listed in
    _errors.jsonl in the folder, or NAME.errors.jsonl beside the file, each with the stage and
    the reason; the exit code is still 0 (3 with --strict), unless there was no other.
    """
    from mobilenet_hub.images import MAX_PIXELS
    from mobilenet_hub.module import Module
    from mobilenet_hub.pipeline.job import embed_to
    from mobilenet_hub.pipeline.processor import Settings
    from mobilenet_hub.pipeline.progress import make_progress
    from mobilenet_hub.pipeline.sources.open import SourceOptions, open_words

    options = SourceOptions(all_files, follow_links, root, path_column, image_column, id_column)
    share = _parse_shard(shard)
    _refuse_own_source(paths, output)
    settings = Settings(
        labels=labels,
        normalize="l2" if normalize is _Normalize.L2 else None,
        crop=crop.value,
        resample=resample.value,
        max_pixels=max_pixels or MAX_PIXELS,
        size=choices.parse_size(size),
        content_hash=content_hash,
        dimensions=dimensions,
    )  # fmt: skip
    source = open_words(paths, options)
    loaded = Module(module)
    runner = None
    if engine is _Engine.RAY:
        from mobilenet_hub import ray

        runner = ray.make_runner(module, loaded, address=address, workers=threads)
    shown = make_progress(progress.value, source.count if share == (0, 1) else lambda: None)
    start = time.monotonic()
    try:
        summary = embed_to(
            output, source, loaded, settings, dtype=dtype.value, part_items=part_items,
            shard=share, restart=restart, errors=errors, threads=threads, progress=shown,
            runner=runner,
        )  # fmt: skip
    finally:
        shown.close()
    _report(summary, time.monotonic() - start, as_json=as_json)
    _exit(summary, strict)


def _refuse_own_source(paths: list[str], output: Path) -> None:
    if not output.exists():
        return
    for path in paths:
        if Path(path).exists() and output.samefile(path):
            raise typer.BadParameter(f"the output is one of the sources. Received: {path!r}")


def _parse_shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not int(match[1]) < int(match[2]):
        raise typer.BadParameter(f"shard must be I/N with I from 0 to N-1. Received: {text!r}")
    return int(match[1]), int(match[2])


def _report(summary: Summary, seconds: float, *, as_json: bool) -> None:
    counts = summary.counts
    if as_json:
        values = {
            **dataclasses.asdict(counts), "rows": summary.rows, "failures": summary.failures,
            "duplicates": summary.duplicates, "output": str(summary.output),
            "errors": str(summary.errors) if summary.failures else None,
            "interrupted": summary.interrupted, "seconds": round(seconds, 3),
        }  # fmt: skip
        print(json.dumps(values))
        return
    rate = counts.done / max(seconds, 1e-9)
    words = [f"{counts.done:,} embedded in {seconds:.1f} s ({rate:,.0f} images/s)"]
    if counts.skipped:
        words.append(f"{counts.skipped:,} done before")
    if summary.duplicates:
        words.append(f"{summary.duplicates:,} named twice")
    where = "to go on from" if summary.interrupted else f"in {summary.output}"
    words.append(f"{summary.rows:,} rows {where}")
    if summary.failures:
        words.append(f"{summary.failures:,} failed, listed in {summary.errors}")
    typer.echo("; ".join(words), err=True)


def _exit(summary: Summary, strict: bool) -> None:
    from mobilenet_hub.cli import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_ITEMS_FAILED, print_error

    if summary.interrupted:
        print_error("interrupted; the same command goes on from here")
        sys.exit(EXIT_INTERRUPTED)
    if summary.rows == 0:
        print_error("no image could be read" if summary.failures else "no images found")
        sys.exit(EXIT_ERROR)
    if summary.failures and strict:
        sys.exit(EXIT_ITEMS_FAILED)
