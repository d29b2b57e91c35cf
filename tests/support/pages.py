"""Reading the pages that are written."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image


class Page(HTMLParser):
    """What a browser would see of a page."""

    def __init__(self, path):
        super().__init__()
        self.images: list[Image.Image] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(Path(path).read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        values = dict(attributes)
        assert not any(name.startswith("on") for name in values)
        if tag == "a":
            self.links.append(values["href"])
        shown = values.get("src", "") + values.get("style", "")
        for data in re.findall(r"data:image/(?:jpeg|png);base64,([\w+/=]+)", shown):
            self.images.append(Image.open(io.BytesIO(base64.b64decode(data))))
        assert tag != "img" or values["src"].startswith("data:image/")

    def handle_data(self, data):
        self.text += data
