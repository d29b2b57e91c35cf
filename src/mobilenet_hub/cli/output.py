"""What every command prints with: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Literal

Cell = str | int | float | None


def print_json(value: Any) -> None:
    """One JSON document on standard output, indented on a terminal only."""
    json.dump(value, sys.stdout, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False)
    sys.stdout.write("\n")


def print_table(
    title: str, columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]
) -> None:
    """A coloured table on a terminal; tab-separated lines with a header in a pipe.

    Args:
        title: above the table.
        columns: header and style; a header that starts with `#` (dropped) is right-aligned.
        rows: cells, already words; rich markup in them is shown as it stands.
    """
    if not sys.stdout.isatty():
        print("\t".join(header.lstrip("#") for header, _ in columns))
        for row in rows:
            print("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in row))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for header, style in columns:
        justify: Literal["left", "right"] = "right" if header.startswith("#") else "left"
        table.add_column(header.lstrip("#"), style=style or None, justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
