"""`index`, `search`, `duplicates`: images that look alike."""

from __future__ import annotations

from dataclasses import asdict

from mobilenet_hub.cli import options
from mobilenet_hub.cli.output import end, print_json, print_note, print_table, printable

_SHOWN_GROUPS, _SHOWN_OTHERS = 500, 24  # in a contact sheet


def index_command(dataset: options.Dataset, output: options.IndexFolder = None) -> None:
    """Index a dataset's embeddings, so that `search` finds similar images at once."""
    from mobilenet_hub.search.index import Index, build_index

    folder = build_index(dataset, output)
    print_note(f"{len(Index(folder)):,} embeddings indexed in {folder}")


def search_command(
    images: options.Images,
    index: options.Index,
    count: options.Count = 10,
    module: options.IndexedModule = None,
    html: options.Html = None,
    root: options.HtmlRoot = None,
    timeout: options.Timeout = None,
    as_json: options.JsonLines = False,
    strict: options.Strict = False,
) -> None:
    """Find the images most like others, by the cosine of their embeddings."""
    from mobilenet_hub.pages.page import refuse_other_page
    from mobilenet_hub.pipeline.sources.resolve import open_words
    from mobilenet_hub.search.exact import open_rows
    from mobilenet_hub.search.sheet import Picture, write_sheet

    if html is not None:
        refuse_other_page(html)
    rows = open_rows(index)
    queries = []
    failed = 0
    for record in rows.embed(open_words(images).items(), module):
        if record.ok:
            queries.append(record)
        else:
            failed += 1
            print_note(f"{printable(record.id)}: {record.reason}")
    found = rows.search_each([query.embedding for query in queries], count)
    results = [(query.id, matches) for query, matches in zip(queries, found, strict=True)]
    if as_json:
        for query, matches in results:
            print_json({"id": query, "matches": [asdict(match) for match in matches]})
    else:
        columns = [("image", "cyan"), ("#similarity", "green"), ("match", "bold")]
        lines = [
            [query, f"{match.similarity:.4f}", match.id]
            for query, matches in results
            for match in matches
        ]
        print_table("", columns, lines)
    if html is not None:
        sections = [
            [Picture(query, "query"), *(Picture(m.id, f"{m.similarity:.3f}") for m in matches)]
            for query, matches in results
        ]
        write_sheet(
            html, "Similar images",
            f"The query, then the {count} most similar of {len(rows):,} images in {index}, with "
            "the cosine of their embeddings.",
            sections, root=root,
        )  # fmt: skip
    end(len(results), failed, strict=strict)


def duplicates_command(
    dataset: options.Dataset,
    by: options.By = None,
    threshold: options.Threshold = None,
    html: options.Html = None,
    root: options.HtmlRoot = None,
    as_json: options.JsonLines = False,
) -> None:
    """Find groups of nearly equal images in a dataset: copies of one picture, or what looks alike.

    Each group is the first such image and, with their similarity to it, the others.
    """
    from mobilenet_hub.pages.page import refuse_other_page
    from mobilenet_hub.search.duplicates import find_duplicates
    from mobilenet_hub.search.sheet import Picture, write_sheet

    if html is not None:
        refuse_other_page(html)
    groups = find_duplicates(dataset, by=by, threshold=threshold)
    if as_json:
        for group in groups:
            print_json(asdict(group))
    else:
        columns = [("#group", ""), ("#similarity", "green"), ("image", "cyan")]
        rows = [
            [str(number), f"{similarity:.4f}", name]
            for number, group in enumerate(groups, 1)
            for name, similarity in (
                (group.first, 1.0), *((match.id, match.similarity) for match in group.others),
            )
        ]  # fmt: skip
        print_table("", columns, rows)
    others = sum(len(group.others) for group in groups)
    found = f"{len(groups):,} group{'' if len(groups) == 1 else 's'}"
    like = "1 image is" if others == 1 else f"{others:,} images are"
    print_note(f"{found}; {like} much like an earlier one")
    if html is not None:
        groups.sort(key=lambda group: (-len(group.others), -group.others[0].similarity))
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
            f"{found} in {dataset}: the first image of each, then those much like it, with their "
            f"similarity to it.{hidden}",
            sections, root=root,
        )  # fmt: skip


COMMANDS = {"index": index_command, "search": search_command, "duplicates": duplicates_command}
