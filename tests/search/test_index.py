"""The index finds what comparing with everything finds."""

from __future__ import annotations

import json

import numpy as np
import pytest

import mobilenet_hub as hub
from mobilenet_hub.errors import DatasetError
from mobilenet_hub.pipeline.job import embed_to
from mobilenet_hub.pipeline.sources.resolve import open_sources
from mobilenet_hub.search import find_duplicates
from pictures import SIZE, SMALL, write_pictures
from search_support import clouds, write_vectors


def test_search_finds_what_comparing_with_everything_finds(folder):
    pytest.importorskip("usearch")
    from mobilenet_hub.search import Index, build_index

    vectors = clouds(3000)
    index = Index(build_index(write_vectors(folder / "v.parquet", vectors)))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    right = 0
    for query in clouds(50, seed=1):
        cosines = unit @ query / np.linalg.norm(query)
        best = np.argsort(-cosines)[:10]
        found = index.search(query, 10)
        assert [m.similarity for m in found] == sorted((m.similarity for m in found), reverse=True)
        for match in found:
            assert match.similarity == pytest.approx(cosines[int(match.id)], abs=2e-3)
        right += len({int(match.id) for match in found} & set(best.tolist()))
    assert right / 500 > 0.9  # the graph depends on which thread came first


def test_an_index_is_made_of_any_dataset_and_says_how_queries_are_embedded(folder):
    pytest.importorskip("usearch")
    from mobilenet_hub.search import Index, build_index

    write_pictures(folder / "photos", 12)
    module, settings = hub.Module(SMALL), {"size": SIZE, "crop": "none"}
    for output in ("out", "out.parquet", "out.npy"):
        embed_to("photos", output, module, **settings, part_items=5)
        index = Index(build_index(output))
        assert len(index) == 12
        for record in index.embed(open_sources("photos/000[37].jpg").items()):
            (match,) = index.search(record.embedding, 1)
            assert match.id == record.id
            assert match.similarity == pytest.approx(1, abs=1e-3)
    assert len(index.search(record.embedding, 99)) == 12


def test_an_index_replaces_itself_and_nothing_else(folder):
    pytest.importorskip("usearch")
    from mobilenet_hub.search import Index, build_index

    write_vectors(folder / "v.parquet", clouds(20))
    build_index("v.parquet", "index")
    write_vectors(folder / "v.parquet", clouds(30))
    assert len(Index(build_index("v.parquet", "index"))) == 30
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(DatasetError, match="something else"):
        build_index("v.parquet", "mine")


def test_an_index_killed_while_it_was_written_can_be_made_again(folder):
    pytest.importorskip("usearch")
    from mobilenet_hub.search import Index, build_index

    write_vectors(folder / "v.parquet", clouds(20))
    (folder / "index").mkdir()
    (folder / "index" / f".vectors.usearch.{'0a' * 8}.part").write_bytes(b"half")
    assert len(Index(build_index("v.parquet", "index"))) == 20
    assert len(list((folder / "index").iterdir())) == 3


def test_a_file_that_is_not_the_one_described_beside_it_says_nothing(folder):
    pytest.importorskip("usearch")
    from mobilenet_hub.search import Index, build_index

    write_pictures(folder / "photos", 3)
    embed_to("photos", "out.npy", hub.Module(SMALL), size=SIZE)
    assert Index(build_index("out.npy")).made is not None
    np.save(folder / "out.npy", clouds(3, features=256))
    index = Index(build_index("out.npy"))
    assert index.made is None
    assert next(iter(index.embed(open_sources("photos").items(), SMALL))).ok


def test_what_is_no_index_is_refused(folder):
    pytest.importorskip("usearch")
    from mobilenet_hub.search import Index, build_index

    with pytest.raises(DatasetError, match="expected an index"):
        Index("nowhere")
    index = Index(build_index(write_vectors(folder / "v.parquet", clouds(20)), "index"))
    with pytest.raises(DatasetError, match=r"64 numbers.*Received: shape \(3,\)"):
        index.search(np.ones(3, np.float32))
    with pytest.raises(DatasetError, match="nothing says which module"):
        index.embed([])
    (folder / "index" / "settings.json").write_text("{}")
    with pytest.raises(DatasetError, match="expected an index"):
        Index("index")


@pytest.mark.parametrize("name", ["vectors.usearch", "ids.arrow"])
@pytest.mark.parametrize("damage", ["bit", "cut", "empty"])
def test_a_damaged_index_is_refused_before_it_is_used(folder, name, damage):
    pytest.importorskip("usearch")
    from mobilenet_hub.search import Index, build_index

    index = build_index(write_vectors(folder / "v.parquet", clouds(500)), "index")
    data = bytearray((index / name).read_bytes())
    data[len(data) // 2] ^= 1
    damaged = {"bit": bytes(data), "cut": bytes(data[:-7]), "empty": b""}[damage]
    (index / name).write_bytes(damaged)
    with pytest.raises(DatasetError, match=r"expected an index.*Received: 'index'"):
        Index("index")
    assert len(Index(build_index("v.parquet", "index"))) == 500


@pytest.mark.parametrize("features", [-1, 0, 63, 65, 2**63, 10**12, 1.5, True, "x", None])
def test_an_index_that_says_another_length_of_its_embeddings_is_refused(folder, features):
    """Some of them reached usearch, whose answer was its C++ signature in many lines."""
    pytest.importorskip("usearch")
    from mobilenet_hub.search import Index, build_index

    path = build_index(write_vectors(folder / "v.parquet", clouds(20)), "index") / "settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "features": features}))
    with pytest.raises(DatasetError, match="expected an index") as caught:
        Index("index")
    assert "\n" not in str(caught.value)


def test_a_dataset_that_is_not_indexed_is_answered_with_the_command(folder):
    pytest.importorskip("usearch")
    from mobilenet_hub.search import Index

    write_vectors(folder / "v.parquet", clouds(5))
    with pytest.raises(DatasetError, match="`mobilenet-hub index DATASET` makes it"):
        Index("v.parquet")
    write_pictures(folder / "photos", 2)
    with pytest.raises(DatasetError, match="mobilenet-hub embed PHOTOS --output DATASET"):
        find_duplicates("photos")


@pytest.mark.parametrize("note", [3, {}, {"height": "tall"}, {"height": 3, "width": 3}])
def test_a_damaged_note_of_how_rows_were_made_is_a_sentence(folder, note):
    pytest.importorskip("usearch")
    from mobilenet_hub.search import Index, build_index

    write_vectors(folder / "v.parquet", clouds(20))
    path = build_index("v.parquet", "index") / "settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "made": note}))
    with pytest.raises(DatasetError, match="how it was made is damaged"):
        Index("index")
