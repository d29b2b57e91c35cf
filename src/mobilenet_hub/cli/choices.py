"""Options that several commands share, and the words they take."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class CropChoice(StrEnum):
    """See `images.Preprocessing`."""

    CENTER = "center"
    SLIM = "slim"
    NONE = "none"
    PAD = "pad"


class ResampleChoice(StrEnum):
    """See `images.Preprocessing`."""

    BILINEAR = "bilinear"
    TF1 = "tf1"


Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH...",
        help="Images, folders, globs, lists of paths (.txt, .csv, .parquet), archives (.tar), "
        "tables with images (.parquet, .arrow), URLs of these, or - for standard input.",
        show_default=False,
    ),
]
Crop = Annotated[
    CropChoice,
    typer.Option(
        help="center: the central square, 87.5 % of the short side; slim: the central 87.5 % of "
        "each side, squashed; none: everything, squashed; pad: everything, with borders."
    ),
]
Resample = Annotated[
    ResampleChoice,
    typer.Option(help="bilinear, or tf1: pixel for pixel what TF-Slim's evaluation did."),
]
Size = Annotated[
    str | None,
    typer.Option(
        metavar="HEIGHT[xWIDTH]",
        help="Input size, for modules that take any (MobileNet V1 from version 3 on).",
        show_default="the module's own",
    ),
]
MaxPixels = Annotated[
    int | None,
    typer.Option(min=1, help="Refuse larger pictures.", show_default="178956970"),
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with code 3 if an image failed.")]


def parse_size(text: str | None) -> tuple[int, int] | None:
    """`128` or `97x131` (height x width) as numbers.

    Raises:
        typer.BadParameter: anything else.
    """
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"size must be like 128 or 97x131 pixels. Received: {text!r}")
    return int(parts[0]), int(parts[-1])


def printable(text: str) -> str:
    """Without control characters, which could play tricks on a terminal or break a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
