"""Writing datasets of small pictures, and reading them back."""

from __future__ import annotations

import json

import numpy as np

from mobilenet_hub.pipeline.api import embed
from mobilenet_hub.pipeline.job import embed_to
from pictures import SIZE
from stored_rows import rows

FILES = ["out", "out.parquet", "out.csv", "out.npy"]


def write(output, module, source="photos", **options):
    return embed_to(source, output, module, **{"size": SIZE, "part_items": 4, **options})


def read(output):
    """Ids to embeddings."""
    return dict(rows(output))


def errors(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def expected(module, source="photos"):
    return {r.id: r.embedding for r in embed(source, module, size=SIZE) if r.ok}


def assert_rows(found, wanted):
    assert list(found) == list(wanted)
    for identity, embedding in wanted.items():
        np.testing.assert_array_equal(found[identity], embedding)
