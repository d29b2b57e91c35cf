"""Queries are embedded as the rows were."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

import mobilenet_hub as hub
from mobilenet_hub.errors import DatasetError
from mobilenet_hub.pipeline.job import embed_to
from mobilenet_hub.pipeline.sources.resolve import open_sources
from pictures import SIZE, SMALL, write_pictures

# Not imported here: in a process that imported usearch before us, ONNX Runtime could not be.
pytestmark = pytest.mark.skipif(find_spec("usearch") is None, reason="needs usearch")


def test_an_index_notes_precision_and_engine_and_queries_with_them(folder):
    from mobilenet_hub.search import Index, build_index

    write_pictures(folder / "photos", 3)
    module = hub.Module(SMALL, engine="onnxruntime")
    embed_to("photos", "out", module, size=SIZE)
    index = Index(build_index("out"))
    assert (index.made["engine"], index.made["precision"]) == ("onnxruntime", "float32")
    (record,) = index.embed(open_sources("photos/0001.jpg").items())
    (own,) = hub.embed("photos/0001.jpg", module, size=SIZE)
    np.testing.assert_array_equal(record.embedding, own.embedding)


def test_an_index_of_other_weights_is_refused(folder):
    from mobilenet_hub.search import Index, build_index

    write_pictures(folder / "photos", 3)
    other = hub.Module(SMALL, weights="random")
    embed_to("photos", "out", other, size=SIZE)
    with pytest.raises(DatasetError, match="other weights"):
        Index(build_index("out")).embed([])
