"""A dataset is searched as it lies."""

from __future__ import annotations

import numpy as np
import pytest

import mobilenet_hub as hub
from mobilenet_hub.errors import DatasetError
from mobilenet_hub.pipeline.job import embed_to
from mobilenet_hub.pipeline.sources.resolve import open_sources
from mobilenet_hub.search.exact import Rows, open_rows
from pictures import SIZE, SMALL, write_pictures
from search_support import clouds, write_vectors


def test_every_row_is_compared_and_equal_ones_come_in_their_order(folder):
    vectors = clouds(3000)
    vectors[2000] = 3 * vectors[7]
    rows = Rows(write_vectors(folder / "v.parquet", vectors))
    assert len(rows) == 3000
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = [*clouds(5, seed=1), vectors[7]]
    for query, matches in zip(queries, rows.search_each(queries, 10), strict=True):
        cosines = unit @ query / np.linalg.norm(query)
        wanted = np.sort(cosines)[::-1][:10]
        assert [match.similarity for match in matches] == pytest.approx(wanted, abs=1e-6)
        assert [cosines[int(match.id)] for match in matches] == pytest.approx(wanted, abs=1e-6)
    assert [match.id for match in matches[:2]] == ["7", "2000"]
    assert len(rows.search_each(queries[:1], 5000)[0]) == 3000
    assert rows.search_each([]) == []


@pytest.mark.parametrize("output", ["out", "out.parquet", "out.npy"])
def test_queries_are_embedded_as_the_dataset_notes_it(folder, output):
    write_pictures(folder / "photos", 6)
    embed_to("photos", output, hub.Module(SMALL), size=SIZE, crop="none", part_items=4)
    rows = open_rows(output)
    (record,) = rows.embed(open_sources("photos/0003.jpg").items())
    ((match, _),) = rows.search_each([record.embedding], 2)
    assert (match.id, match.similarity) == ("photos/0003.jpg", pytest.approx(1, abs=1e-6))


def test_embeddings_of_another_module_are_refused(folder):
    rows = Rows(write_vectors(folder / "v.parquet", clouds(20)))
    with pytest.raises(DatasetError, match=r"64 numbers.*Received: shape \(3,\)"):
        rows.search_each([np.ones(3, np.float32)])


def test_what_is_neither_index_nor_dataset_is_told_which_commands_come_first(folder):
    write_pictures(folder / "photos", 1)
    for path in ("photos", "nowhere", "nowhere.parquet"):
        with pytest.raises(DatasetError, match=r"`mobilenet-hub embed PHOTOS --output DATASET`"):
            open_rows(path)
