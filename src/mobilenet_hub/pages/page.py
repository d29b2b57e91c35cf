"""Filling in a template of `data/pages` and writing what comes of it.

Templates are Jinja's with automatic escaping: whatever is put into one stays text, in attributes
too. The pages' own policy forbids scripts and everything that is not in the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import takewhile
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilenet_hub.errors import InputError
from mobilenet_hub.files import write_atomically

if TYPE_CHECKING:
    from jinja2 import Environment

_GENERATOR = b"<meta name=generator content=mobilenet-hub>"


def render_page(template: str, **values: Any) -> bytes:
    """A page as it goes into a file. Equal values give equal bytes.

    Args:
        template: its name in `data/pages`.
        values: what it shows; text is escaped, `markupsafe.Markup` is not.
    """
    text = _environment().get_template(template).render(values)
    return text.encode("utf-8", "backslashreplace")  # names may hold halves of pairs


def write_page(path: str | PathLike[str], page: bytes) -> None:
    """Write a page, replacing an earlier one.

    Raises:
        InputError: something else is there.
        OSError: the file cannot be written.
    """
    refuse_other_page(Path(path))
    write_atomically(path, page)


def refuse_other_page(path: Path) -> None:
    """Refuse to write over a file that is no page of ours, or into a folder that is not there.

    Raises:
        InputError: it is something else.
        FileNotFoundError: there is no such folder.
    """
    path.parent.stat()
    if path.exists():
        head = b""
        if path.is_file():
            with path.open("rb") as file:
                head = file.read(200)
        if _GENERATOR not in head:
            raise InputError(
                f"the file for the page holds something else; choose another. "
                f"Received: {str(path)!r}"
            )


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mobilenet_hub", "data/pages"),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"percent": percent, "count": count}
    return environment


def percent(share: float | None, digits: int = 1) -> str:
    """`93.5 %`; a dash for None."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def count(number: int, noun: str = "") -> str:
    """`1,234`, or with a noun `1,234 photos`, `1 photo`."""
    plural = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{plural}" if noun else f"{number:,}"


def common_folder(names: Iterable[str]) -> str:
    """What all names begin with, up to a slash."""
    names = list(names)
    first, last = (
        name.split("/")[:-1] for name in (min(names, default=""), max(names, default=""))
    )
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return "".join(f"{folder}/" for folder, _ in same)
