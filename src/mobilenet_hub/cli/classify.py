"""`classify`: what is in these images?"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mobilenet_hub.cli import choices
from mobilenet_hub.cli.choices import printable
from mobilenet_hub.cli.output import print_table

if TYPE_CHECKING:
    from mobilenet_hub.pipeline.records import Classification, Failure

_TABLE_IMAGES = 100  # images in one table on a terminal; memory stays flat in a long run


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("classify")(classify_command)


def classify_command(
    paths: choices.Paths,
    module: Annotated[
        str,
        typer.Option(
            "--module", "-m", metavar="HANDLE_OR_PATH", help="What classifies: has logits."
        ),
    ] = "google/imagenet/mobilenet_v2_140_224/classification/5",
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Labels per image.")] = 5,
    crop: choices.Crop = choices.CropChoice.CENTER,
    resample: choices.Resample = choices.ResampleChoice.BILINEAR,
    size: choices.Size = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line, failures included.")
    ] = False,
    strict: choices.Strict = False,
) -> None:
    """Print the most likely labels of images, with probabilities.

    Images that cannot be read are listed on standard error; the exit code is still 0 (3 with
    --strict), unless there was no other.
    """
    from mobilenet_hub.pipeline import api
    from mobilenet_hub.pipeline.sources import open_words

    items = open_words(paths).items()
    first = list(islice(items, 2))
    settings: dict[str, Any] = {
        "top_k": top_k,
        "crop": crop.value,
        "resample": resample.value,
        "size": choices.parse_size(size),
    }
    records = (  # for a single image another way is the shortest
        iter([api.classify_one(first[0], module, **settings)])
        if len(first) == 1
        else api.classify(chain(first, items), module, **settings)
    )
    count = _Count()
    if as_json:
        for record in count(records):
            print(json.dumps(_as_json(record)))
    else:
        _print_tables(count(records), top_k)
    count.exit(strict)


class _Count:
    """Passes records on, counts them, and reports failures as they come."""

    def __init__(self) -> None:
        self.done = self.failed = 0

    def __call__(
        self, records: Iterable[Classification | Failure]
    ) -> Iterator[Classification | Failure]:
        for record in records:
            if record.ok:
                self.done += 1
            else:
                self.failed += 1
                typer.echo(f"{printable(record.id)}: {record.reason}", err=True)
            yield record

    def exit(self, strict: bool) -> None:
        """End the command with the code that the counts ask for."""
        from mobilenet_hub.cli import EXIT_ERROR, EXIT_ITEMS_FAILED, print_error

        if self.done == 0:
            print_error("no image could be read" if self.failed else "no images found")
            raise typer.Exit(EXIT_ERROR)
        if self.failed and strict:
            raise typer.Exit(EXIT_ITEMS_FAILED)


def _as_json(record: Classification | Failure) -> dict[str, Any]:
    if not record.ok:
        return {"id": record.id, "error": {"stage": record.stage, "reason": record.reason}}
    return {"id": record.id, "labels": [asdict(label) for label in record.labels]}


def _print_tables(records: Iterator[Classification | Failure], top_k: int) -> None:
    columns = [("image", "cyan"), ("label", "bold"), ("#probability", "green")]
    on_terminal = sys.stdout.isatty()
    if not on_terminal:
        print_table("", columns, _lines(records, every_line=True))
        return
    while page := list(islice(records, _TABLE_IMAGES)):
        print_table("", columns, _lines(page, every_line=False))


def _lines(records: Iterable[Classification | Failure], *, every_line: bool) -> Iterator[list[str]]:
    """One line a label; for people the image is named on its first only."""
    for record in records:
        if not record.ok:
            continue
        for rank, label in enumerate(record.labels):
            image = printable(record.id) if every_line or rank == 0 else ""
            yield [image, label.name, f"{label.score:.4f}"]
