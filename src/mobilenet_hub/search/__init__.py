"""Similar images: an index of a dataset's embeddings, searching it, finding duplicates.

`index.py` builds and searches (usearch, extra `[search]`), `duplicates.py` groups, `sheet.py` shows
either as a page to look at.
"""

from __future__ import annotations

from mobilenet_hub.search.duplicates import Group, find_duplicates
from mobilenet_hub.search.index import Index, Match, build_index

__all__ = ["Group", "Index", "Match", "build_index", "find_duplicates"]
