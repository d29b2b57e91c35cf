"""Datasets that this library or other tools wrote, as unit vectors."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mobilenet_hub.errors import DatasetError
from mobilenet_hub.search import find_duplicates
from mobilenet_hub.search.vectors import how_made
from search_support import clouds, write_vectors


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float64())])
def test_lists_of_any_length_number_ids_and_rows_without_embedding_are_read(folder, kind):
    pytest.importorskip("usearch")
    from mobilenet_hub.search import Index, build_index

    vectors = clouds(40)
    vectors[30] = vectors[3]
    rows = [None if at == 7 else row.tolist() for at, row in enumerate(vectors)]
    table = pa.table({"id": pa.array(range(100, 140)), "embedding": pa.array(rows, kind)})
    pq.write_table(table, folder / "v.parquet")
    index = Index(build_index("v.parquet"))
    assert len(index) == 39
    assert {match.id for match in index.search(vectors[3], 2)} == {"103", "130"}
    (group,) = find_duplicates("v.parquet", threshold=0.9999)
    assert (group.first, [match.id for match in group.others]) == ("103", ["130"])


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", "b"]),
        pa.array([["a"], ["b"]]),
        pa.array([[1.0], [1.0, 2.0]]),
        pa.array([[], []], pa.list_(pa.float32())),
        pa.array([[1.0, None], [1.0, 2.0]]),
    ],
)
def test_embeddings_that_are_no_lists_of_so_many_numbers_are_refused(folder, column):
    pq.write_table(pa.table({"id": ["a", "b"], "embedding": column}), folder / "v.parquet")
    with pytest.raises(DatasetError, match=r"v\.parquet"):
        find_duplicates("v.parquet")


def test_embeddings_that_are_not_finite_are_refused(folder):
    with pytest.raises(DatasetError, match="finite"):
        find_duplicates(write_vectors(folder / "v.parquet", [[1, np.nan]]))


@pytest.mark.parametrize("note", ["3", "{}", '{"height": "tall"}', '{"height": 3}', "[" * 100_000])
def test_a_damaged_note_of_how_rows_were_made_is_one_sentence(folder, note):
    write_vectors(folder / "v.parquet", clouds(20))
    table = pq.read_table("v.parquet").replace_schema_metadata({"mobilenet_hub": note})
    pq.write_table(table, "v.parquet")
    with pytest.raises(DatasetError, match=r"damaged|nested too deeply"):
        how_made(folder / "v.parquet")
