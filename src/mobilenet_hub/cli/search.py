"""`index`, `search`, `duplicates`: images that look alike."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mobilenet_hub.cli import choices
from mobilenet_hub.cli.choices import printable
from mobilenet_hub.cli.output import print_table

_SHOWN_GROUPS, _SHOWN_OTHERS = 500, 24  # in a contact sheet


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("index")(index_command)
    app.command("search")(search_command)
    app.command("duplicates")(duplicates_command)


Dataset = Annotated[
    Path, typer.Argument(metavar="DATASET", help="What `embed` wrote.", show_default=False)
]
Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write a page of pictures to look at.")
]
Root = Annotated[
    str | None,
    typer.Option(metavar="FOLDER", help="For --html: what relative ids are relative to."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]


def index_command(
    dataset: Dataset,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The index's folder.", show_default="DATASET.index"),
    ] = None,
) -> None:
    """Index a dataset's embeddings, so that `search` finds similar images at once."""
    from mobilenet_hub.search.index import Index, build_index

    folder = build_index(dataset, output)
    typer.echo(f"{len(Index(folder)):,} embeddings indexed in {folder}", err=True)


def search_command(
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE...", help="As for `embed`.", show_default=False),
    ],
    index: Annotated[
        Path, typer.Option("--index", "-i", help="What `index` wrote.", show_default=False)
    ],
    count: Annotated[int, typer.Option("--count", "-k", min=1, help="Matches per image.")] = 10,
    module: Annotated[
        str | None,
        typer.Option(
            "--module", "-m", metavar="HANDLE_OR_PATH",
            help="What made the embeddings, where it was weights of your own.",
            show_default="as the index notes",
        ),
    ] = None,
    html: Html = None,
    root: Root = None,
    as_json: AsJson = False,
    strict: choices.Strict = False,
) -> None:  # fmt: skip
    """Find the images most like others, by the cosine of their embeddings."""
    from mobilenet_hub.cli import EXIT_ERROR, EXIT_ITEMS_FAILED, print_error
    from mobilenet_hub.pipeline.sources.open import open_words
    from mobilenet_hub.search.index import Index
    from mobilenet_hub.search.sheet import Picture, write_sheet

    opened = Index(index)
    source = open_words(images)
    results = []
    failed = 0
    for record in opened.embed(source.items(), module):
        if not record.ok:
            failed += 1
            typer.echo(f"{printable(record.id)}: {record.reason}", err=True)
            continue
        results.append((record.id, opened.search(record.embedding, count)))
    if as_json:
        for query, matches in results:
            print(json.dumps({"id": query, "matches": [asdict(match) for match in matches]}))
    else:
        columns = [("image", "cyan"), ("#similarity", "green"), ("match", "bold")]
        rows = [
            [printable(query), f"{match.similarity:.4f}", printable(match.id)]
            for query, matches in results
            for match in matches
        ]
        print_table("", columns, rows)
    if html is not None:
        sections = [
            [Picture(query, "query"), *(Picture(m.id, f"{m.similarity:.3f}") for m in matches)]
            for query, matches in results
        ]
        write_sheet(
            html, "Similar images",
            f"The query, then the {count} most similar of {len(opened):,} images in {index}, with "
            "the cosine of their embeddings.",
            sections, root=root,
        )  # fmt: skip
    if not results:
        print_error("no image could be read" if failed else "no images found")
        raise typer.Exit(EXIT_ERROR)
    if failed and strict:
        raise typer.Exit(EXIT_ITEMS_FAILED)


def duplicates_command(
    dataset: Dataset,
    threshold: Annotated[
        float,
        typer.Option("--threshold", "-t", min=0.0, max=1.0, help="Least similarity (cosine)."),
    ] = 0.95,
    html: Html = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Find groups of nearly equal images in a dataset.

    Each group is the first such image and, with their similarity to it, the others.
    """
    from mobilenet_hub.search.duplicates import find_duplicates
    from mobilenet_hub.search.sheet import Picture, write_sheet

    groups = find_duplicates(dataset, threshold=threshold)
    if as_json:
        for group in groups:
            print(json.dumps(asdict(group)))
    else:
        columns = [("#group", ""), ("#similarity", "green"), ("image", "cyan")]
        rows = [
            [str(number), f"{similarity:.4f}", printable(name)]
            for number, group in enumerate(groups, 1)
            for name, similarity in (
                (group.first, 1.0), *((match.id, match.similarity) for match in group.others),
            )
        ]  # fmt: skip
        print_table("", columns, rows)
    others = sum(len(group.others) for group in groups)
    found = f"{len(groups):,} group{'' if len(groups) == 1 else 's'}"
    like = "1 image is" if others == 1 else f"{others:,} images are"
    typer.echo(f"{found}; {like} much like an earlier one", err=True)
    if html is not None:
        shown = groups[:_SHOWN_GROUPS]
        sections = [
            [
                Picture(group.first, "first"),
                *(Picture(m.id, f"{m.similarity:.3f}") for m in group.others[:_SHOWN_OTHERS]),
            ]
            for group in shown
        ]
        hidden = "" if len(shown) == len(groups) else f" The first {len(shown)} are shown."
        write_sheet(
            html, "Near-duplicates",
            f"{found} in {dataset}: the first image of each, then those at least "
            f"{threshold:g} similar to it (cosine of their embeddings).{hidden}",
            sections, root=root,
        )  # fmt: skip
