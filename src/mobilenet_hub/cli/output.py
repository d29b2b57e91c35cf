"""How commands print and end: tables and sentences for people, JSON for programs, exit codes.

Names of files, server replies and contents of files end up in what is printed, so everything goes
through here, where control characters, which a terminal would obey, are shown as escapes.
"""

from __future__ import annotations

import json
import math
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import typer

EXIT_ERROR, EXIT_USAGE, EXIT_ITEMS_FAILED, EXIT_INTERRUPTED = 1, 2, 3, 130

_WHOLE_WORD = 12  # letters, above which a word of a table may be broken
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # Unicode's general categories


def printable(text: str, *, keep: str = "") -> str:
    """Text with control, format (such as right-to-left) and line separating characters escaped.

    Args:
        text: from anywhere.
        keep: control characters to leave as they are.
    """
    return "".join(
        c.encode("unicode_escape").decode()
        if unicodedata.category(c) in _UNSAFE and c not in keep
        else c
        for c in text
    )


def print_line(text: object) -> None:
    """One line of results on standard output."""
    typer.echo(printable(str(text)))


def print_note(text: str) -> None:
    """What people should know beside the results, on standard error; may have several lines."""
    typer.echo(printable(text, keep="\n"), err=True)


def note_passed_over(files: Mapping[str, int]) -> None:
    """Say which files of folders and archives were left out.

    Args:
        files: how many, by suffix.
    """
    if not (total := sum(files.values())):
        return
    most = sorted(files.items(), key=lambda pair: (-pair[1], pair[0]))
    words = [f"{count:,} {suffix or 'without a suffix'}" for suffix, count in most[:5]]
    if len(most) > len(words):
        words.append(f"{total - sum(count for _, count in most[:5]):,} others")
    print_note(f"not named like images, left out: {', '.join(words)}; --all-files tries them")


def print_error(message: str) -> None:
    """Why something could not be done, on standard error; `error:` is red on a terminal."""
    typer.secho("error: ", fg=typer.colors.RED, bold=True, err=True, nl=False)
    print_note(message)


def print_json(value: Any, *, indent: bool = False) -> None:
    """One JSON document in a line of standard output; indented, if asked for, on a terminal.

    Numbers that are not finite, which JSON has no word for, are null.
    """
    wide = 2 if indent and sys.stdout.isatty() else None
    typer.echo(json.dumps(_finite(value), indent=wide, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(
    title: str, columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]
) -> None:
    """A coloured table on a terminal; tab-separated lines with a header in a pipe.

    On a terminal too narrow for its numbers and short words, a line for each cell.

    Args:
        title: above the table, on a terminal.
        columns: header and style; a header that starts with `#` (dropped) is right-aligned.
        rows: cells, shown as they are: rich markup in them has no effect.
    """
    if not sys.stdout.isatty():
        typer.echo("\t".join(header.lstrip("#") for header, _ in columns))
        for row in rows:
            typer.echo("\t".join(map(printable, row)))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    headers = [header.lstrip("#") for header, _ in columns]
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = _widths([headers, *cells], console.width)
    if widths is None:
        _print_lines(title, headers, cells)
        return
    heading = Text(printable(title), "bold") if title else None
    table = Table(
        title=heading, title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False
    )
    for header, (name, style), width in zip(headers, columns, widths, strict=True):
        justify: Literal["left", "right"] = "right" if name.startswith("#") else "left"
        table.add_column(header, style=style or None, justify=justify, overflow="fold", width=width)
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)
    console.print()


def _widths(rows: Sequence[Sequence[str]], available: int) -> list[int] | None:
    """How wide each column is; None where numbers and short words would be broken.

    What is left by the words that stay whole goes to all columns alike, but to none more than it
    can use.
    """
    from rich.cells import cell_len

    least, most = [], []
    for column in zip(*rows, strict=True):
        words = [len(word) for cell in column for word in cell.split()]
        least.append(max((word for word in words if word <= _WHOLE_WORD), default=1))
        most.append(max(map(cell_len, column)))
    spare = available - sum(least) - 3 * (len(least) - 1)  # three are between two columns
    if spare < 0:
        return None
    widths = least.copy()
    order = sorted(range(len(least)), key=lambda at: most[at] - least[at])
    for rank, at in enumerate(order):
        more = min(max(most[at] - least[at], 0), spare // (len(order) - rank))
        widths[at] += more
        spare -= more
    return widths


def _print_lines(title: str, headers: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    if title:
        print_line(title)
    for row in cells:
        typer.echo("")
        for header, cell in zip(headers, row, strict=True):
            typer.echo(f"{header}: {cell}")


def print_groups(
    name: str, columns: Sequence[tuple[str, str]], groups: Mapping[str, Iterable[Sequence[str]]]
) -> None:
    """On a terminal a table for each group; in a pipe one, whose first column names the group.

    Args:
        name: of that column.
        columns: the others, as in `print_table`.
        groups: the rows of each.
    """
    if sys.stdout.isatty():
        for group, rows in groups.items():
            print_table(group, columns, rows)
        return
    every = [[group, *row] for group, rows in groups.items() for row in rows]
    print_table("", [(name, ""), *columns], every)


def end(done: int, failed: int, *, strict: bool) -> None:
    """End a command that went through images, with the exit code that the counts ask for.

    Args:
        done: images with a result, of this run or an earlier one.
        failed: images without.
        strict: whether one of these is enough for `EXIT_ITEMS_FAILED`.
    """
    if done == 0:
        print_error("no image could be read" if failed else "no images found")
        raise typer.Exit(EXIT_ERROR)
    if failed and strict:
        raise typer.Exit(EXIT_ITEMS_FAILED)
