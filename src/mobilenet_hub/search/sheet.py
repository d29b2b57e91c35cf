"""Contact sheets: matches and groups as one HTML file with small pictures in it.

The file needs nothing else: thumbnails are inside it, there is no script. Ids may hold
anything and are escaped.
"""

from __future__ import annotations

import base64
import html
import io
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from urllib.parse import quote

from mobilenet_hub.errors import ImageError, InputError, ItemError
from mobilenet_hub.files import write_atomically
from mobilenet_hub.images import MAX_PIXELS, decode
from mobilenet_hub.images.limits import max_bytes
from mobilenet_hub.pipeline.sources.items import FileItem, Item, path_id
from mobilenet_hub.pipeline.sources.resolve import open_sources
from mobilenet_hub.pipeline.sources.source import SourceOptions

THUMBNAIL = 176  # pixels on the longer side
_GENERATOR = "<meta name=generator content=mobilenet-hub>"

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #777; }
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 84rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; } p { color: var(--quiet); }
section { border-top: 1px solid var(--line); padding: 1rem 0; display: flex; gap: .9rem;
  flex-wrap: wrap; align-items: flex-start; }
figure { margin: 0; width: 176px; }
figure.first { border-right: 1px solid var(--line); padding-right: .9rem; }
img, .none { width: 176px; height: 176px; object-fit: contain; background: #8881;
  border-radius: 4px; display: block; }
.none { display: grid; place-items: center; color: var(--quiet); }
figcaption { font-size: .8rem; overflow-wrap: anywhere; margin-top: .3rem; }
@media (max-width: 34rem) {
  section { display: grid; grid-template-columns: 1fr 1fr; }
  figure, img, .none { width: 100%; } figure.first { border: 0; padding: 0; }
}
b { font-variant-numeric: tabular-nums; } .first b { color: var(--quiet); font-weight: 600; }
"""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a sheet.

    Attributes:
        id: of the item; its file is looked for by it.
        note: a word above the id: `0.987`, `query`.
    """

    id: str
    note: str


def write_sheet(
    path: str | Path,
    title: str,
    explanation: str,
    sections: Iterable[Sequence[Picture]],
    *,
    root: str | None = None,
) -> None:
    """Write a contact sheet, replacing an earlier one.

    The folder that all ids have in common is named once; pictures that are files are linked.

    Args:
        path: of the HTML file.
        title: of the page.
        explanation: one sentence below it.
        sections: rows of pictures; the first of each is set apart.
        root: folder that ids which are relative paths are relative to.

    Raises:
        InputError: something else is there.
        OSError: the file cannot be written.
    """
    path = Path(path)
    refuse_other_page(path)
    sections = [list(section) for section in sections]
    common = _common_folder([picture.id for section in sections for picture in section])
    drawer = _Drawer(path, root, len(common))
    rows = "\n".join(
        f"<section>{''.join(drawer.figure(p, at) for at, p in enumerate(section))}</section>"
        for section in sections
    )
    if common:
        explanation = f"{explanation} All are below {common}"
    page = (
        f"<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n{_GENERATOR}\n"
        '<meta name=viewport content="width=device-width">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n"
        f"<h1>{html.escape(title)}</h1>\n<p>{html.escape(explanation)}</p>\n{rows}\n</html>\n"
    )
    write_atomically(path, page.encode())


def refuse_other_page(path: Path) -> None:
    """Refuse to write over a file that is no sheet, or into a folder that is not there.

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
        if _GENERATOR.encode() not in head:
            raise InputError(
                f"the file for the page holds something else; choose another. "
                f"Received: {str(path)!r}"
            )


def _common_folder(ids: Sequence[str]) -> str:
    """What all ids begin with, up to a slash."""
    first, last = (name.split("/")[:-1] for name in (min(ids, default=""), max(ids, default="")))
    same = takewhile(lambda names: names[0] == names[1], zip(first, last, strict=False))
    return "".join(f"{name}/" for name, _ in same)


class _Drawer:
    """Draws the pictures of a page.

    Args:
        page: where it will be.
        root: see `write_sheet`.
        common: how many characters all ids begin with.
    """

    def __init__(self, page: Path, root: str | None, common: int) -> None:
        self._page = page
        self._finder = _Finder(root)
        self._common = common

    def figure(self, picture: Picture, at: int) -> str:
        """A picture and what is said of it; the first of a section is set apart."""
        name = html.escape(picture.id)
        data = self._finder.thumbnail(picture.id)
        if data is None:
            shown = "<div class=none>no picture here</div>"
        else:
            source = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
            shown = f'<img alt="{name}" title="{name}" src="{source}">'
        if (file := self._finder.file(picture.id)) is not None:
            link = os.path.relpath(file, self._page.parent)
            shown = f'<a href="{quote(os.fsencode(link))}">{shown}</a>'
        kind = " class=first" if at == 0 else ""
        words = f"<b>{html.escape(picture.note)}</b> {html.escape(picture.id[self._common :])}"
        return f"<figure{kind}>{shown}<figcaption>{words}</figcaption></figure>"


class _Finder:
    """Finds the picture of an id: a local file, or a member of a local tar archive."""

    def __init__(self, root: str | None) -> None:
        self._root = root
        self._archives: dict[str, dict[str, Item]] = {}

    def thumbnail(self, identity: str) -> bytes | None:
        """A JPEG of at most `THUMBNAIL` pixels a side; None where there is nothing to show."""
        from PIL import Image

        item = self._item(identity)
        if item is None:
            return None
        try:
            data, _ = item.read(max_bytes(MAX_PIXELS))
            image = Image.fromarray(decode(data, path=item.path))
        except (ItemError, ImageError, OSError):
            return None  # the page says that there is no picture
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=80)
        return file.getvalue()

    def file(self, identity: str) -> str | None:
        """The path of the file that an id names; None where it names no file here."""
        path = self._local(path_of(identity))
        return path if os.path.isfile(path) else None  # noqa: PTH113 - may hold any bytes

    def _item(self, identity: str) -> Item | None:
        if (path := self.file(identity)) is not None:
            return FileItem(path)
        stem, tar, member = identity.partition(".tar/")
        archive = self._local(path_of(f"{stem}.tar"))
        if not tar or not os.path.isfile(archive):  # noqa: PTH113
            return None
        if archive not in self._archives:
            items = open_sources(archive, SourceOptions(all_files=True)).items()
            prefix = len(f"{path_id(archive)}/")
            self._archives[archive] = {item.id[prefix:]: item for item in items}
        return self._archives[archive].get(member)

    def _local(self, path: str) -> str:
        return str(Path(self._root, path)) if self._root is not None else path


_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")


def path_of(identity: str) -> str:
    """The path whose id this is: undoes `pipeline.items.path_id`."""
    parts = _ESCAPE.split(identity)  # text, two digits, text, ...
    texts, digits = parts[::2], [*parts[1::2], ""]
    pairs = zip(texts, digits, strict=True)
    return os.fsdecode(b"".join(text.encode() + bytes.fromhex(byte) for text, byte in pairs))
