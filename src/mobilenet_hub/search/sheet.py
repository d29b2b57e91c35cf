"""Contact sheets: matches and groups as one HTML file with small pictures in it.

The file needs nothing else: thumbnails are inside it, there is no script. Ids may hold
anything and are escaped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from mobilenet_hub.errors import ImageError, ItemError
from mobilenet_hub.images import MAX_PIXELS, decode
from mobilenet_hub.images.limits import max_bytes
from mobilenet_hub.pages.page import common_folder, render_page, write_page
from mobilenet_hub.pages.picture import jpeg_uri
from mobilenet_hub.pipeline.sources.items import FileItem, Item, path_id
from mobilenet_hub.pipeline.sources.resolve import open_sources
from mobilenet_hub.pipeline.sources.source import SourceOptions


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
    sections = [list(section) for section in sections]
    common = common_folder([picture.id for section in sections for picture in section])
    drawer = _Drawer(path, root, len(common))
    if common:
        explanation = f"{explanation} All are below {common}"
    drawn = [[drawer.figure(picture) for picture in section] for section in sections]
    page = render_page("sheet.html", title=title, explanation=explanation, sections=drawn)
    write_page(path, page)


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

    def figure(self, picture: Picture) -> dict[str, str | None]:
        """What the page says of a picture and shows of it."""
        file = self._finder.file(picture.id)
        link = None if file is None else os.path.relpath(file, self._page.parent)
        return {
            "id": picture.id,
            "name": picture.id[self._common :],
            "note": picture.note,
            "source": self._finder.thumbnail(picture.id),
            "link": link and quote(os.fsencode(link)),
        }


class _Finder:
    """Finds the picture of an id: a local file, or a member of a local tar archive."""

    def __init__(self, root: str | None) -> None:
        self._root = root
        self._archives: dict[str, dict[str, Item]] = {}

    def thumbnail(self, identity: str) -> str | None:
        """A small JPEG as a URI; None where there is nothing to show."""
        item = self._item(identity)
        if item is None:
            return None
        try:
            data, _ = item.read(max_bytes(MAX_PIXELS))
            return jpeg_uri(decode(data, path=item.path))
        except (ItemError, ImageError, OSError):
            return None  # the page says that there is no picture

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
