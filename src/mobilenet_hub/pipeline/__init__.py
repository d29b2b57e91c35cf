"""Many images through a module: sources, decode, run, sinks.

`embed` and `classify` are generators of records; `mobilenet-hub embed` and `classify` stand on the
same parts. The way of an item: `sources` finds it, `compute` reads, decodes and runs it, `run` does
that for many at once and keeps their order, `job` writes them to what `shards`, `manifest` and
`sinks` keep on disk.
"""

from __future__ import annotations

from mobilenet_hub.pipeline.api import classify, embed
from mobilenet_hub.pipeline.records import Classification, Embedding, Failure, Label

__all__ = ["Classification", "Embedding", "Failure", "Label", "classify", "embed"]
