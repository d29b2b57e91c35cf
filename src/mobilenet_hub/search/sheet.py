"""Contact sheets: matches and groups as one HTML file with small pictures in it.

The file needs nothing else: thumbnails are inside it, there is no script. Ids come from strangers
and are escaped.
"""

from __future__ import annotations

import base64
import html
import io
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobilenet_hub.errors import ImageError, ItemError
from mobilenet_hub.files import write_atomically
from mobilenet_hub.images import MAX_PIXELS, decode
from mobilenet_hub.images.limits import max_bytes
from mobilenet_hub.pipeline.sources.items import FileItem, Item, path_id
from mobilenet_hub.pipeline.sources.resolve import open_sources
from mobilenet_hub.pipeline.sources.source import SourceOptions

THUMBNAIL = 176  # pixels on the longer side

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
    """Write a contact sheet, replacing what was there.

    Args:
        path: of the HTML file.
        title: of the page.
        explanation: one sentence below it.
        sections: rows of pictures; the first of each is set apart.
        root: folder that ids which are relative paths are relative to.

    Raises:
        OSError: the file cannot be written.
    """
    finder = _Finder(root)
    rows = "\n".join(
        f"<section>{''.join(_figure(p, at, finder) for at, p in enumerate(section))}</section>"
        for section in sections
    )
    page = (
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n"
        '<meta name=viewport content="width=device-width">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n"
        f"<h1>{html.escape(title)}</h1>\n<p>{html.escape(explanation)}</p>\n{rows}\n</html>\n"
    )
    write_atomically(path, page.encode())


def _figure(picture: Picture, at: int, finder: _Finder) -> str:
    name = html.escape(picture.id)
    data = finder.thumbnail(picture.id)
    if data is None:
        shown = "<div class=none>no picture here</div>"
    else:
        shown = f'<img alt="{name}" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'
    kind = " class=first" if at == 0 else ""
    note = html.escape(picture.note)
    return f"<figure{kind}>{shown}<figcaption><b>{note}</b> {name}</figcaption></figure>"


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

    def _item(self, identity: str) -> Item | None:
        path = self._local(path_of(identity))
        if os.path.isfile(path):  # noqa: PTH113 - may hold any bytes
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
