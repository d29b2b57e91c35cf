"""Similar images: an index of a dataset's embeddings, searching it, finding duplicates.

`index.py` builds and searches (usearch, extra `[search]`), `exact.py` searches a dataset without,
`queries.py` embeds what is looked for, `duplicates.py` groups, `sheet.py` shows either as a page to
look at.
"""

from __future__ import annotations

from mobilenet_hub.search.duplicates import Group, find_duplicates
from mobilenet_hub.search.exact import Rows
from mobilenet_hub.search.index import Index, build_index
from mobilenet_hub.search.queries import Match

__all__ = ["Group", "Index", "Match", "Rows", "build_index", "find_duplicates"]
