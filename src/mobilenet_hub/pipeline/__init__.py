"""Many images through a module: sources, decode, run, dataset.

`embed` and `classify` are generators of records; `mobilenet-hub embed` and `classify` stand on the
same parts. The way of an item: `sources` finds it, `processor` reads, decodes and runs it,
`parallel` does that for many at once and keeps their order, `job` writes them to what `dataset`
keeps on disk.
"""

from __future__ import annotations

from mobilenet_hub.pipeline.api import classify, embed
from mobilenet_hub.pipeline.records import Classification, Embedding, Failure, Label

__all__ = ["Classification", "Embedding", "Failure", "Label", "classify", "embed"]
