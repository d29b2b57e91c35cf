"""Duplicates are grouped: by hash, and by looks."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mobilenet_hub.errors import DatasetError, InputError
from mobilenet_hub.pipeline.job import embed_to
from mobilenet_hub.search import duplicates, find_duplicates
from pictures import SMALL
from search_support import clouds, write_vectors


def test_exact_copies_are_duplicates_at_a_threshold_of_1(folder):
    vectors = np.repeat(clouds(200, features=1280), 2, axis=0)
    assert len(find_duplicates(write_vectors(folder / "v.parquet", vectors), threshold=1.0)) == 200


def by_hand(vectors, threshold):
    """The definition, one image at a time."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    groups: dict[int, list[int]] = {}
    for at in range(len(unit)):
        leaders = list(groups)
        cosines = unit[leaders] @ unit[at] if leaders else np.empty(0)
        if len(cosines) and cosines.max() >= threshold:
            groups[leaders[int(cosines.argmax())]].append(at)
        else:
            groups[at] = []
    return {leader: others for leader, others in groups.items() if others}


def as_rows(groups):
    return {int(group.first): [int(match.id) for match in group.others] for group in groups}


@pytest.mark.parametrize("threshold", [0.7, 0.9, 0.99, 1.0])
def test_duplicates_are_grouped_by_their_definition(folder, threshold):
    vectors = clouds(2500, features=16)
    vectors[[7, 1500, 2400]] = vectors[3]
    vectors[2000] = vectors[1999]
    groups = find_duplicates(
        write_vectors(folder / "v.parquet", vectors), threshold=threshold - 1e-6
    )
    assert as_rows(groups) == by_hand(vectors, threshold - 1e-6)
    for group in groups:
        assert all(match.similarity >= threshold - 2e-6 for match in group.others)


def test_copies_of_photos_are_found_by_their_hashes_and_other_photos_are_not(folder, examples):
    photos = [path for path in sorted(examples.iterdir()) if path.suffix in (".jpg", ".png")]
    items = []
    for path in photos:
        image = Image.open(path).convert("RGB")
        half = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
        items.append((path.name, path.read_bytes()))
        for word, copy, options in (
            ("png", image, {"format": "PNG"}),
            ("half", half, {"format": "JPEG", "quality": 75}),
            ("poor", image, {"format": "JPEG", "quality": 40}),
        ):
            file = io.BytesIO()
            copy.save(file, **options)
            items.append((f"{path.name} {word}", file.getvalue()))
    embed_to(items, "out", SMALL, perceptual_hash=True)
    groups = {group.first: [match.id for match in group.others] for group in find_duplicates("out")}
    assert groups == {
        path.name: [f"{path.name} {word}" for word in ("png", "half", "poor")] for path in photos
    }


def test_a_dataset_without_hashes_is_grouped_by_looks_and_says_so_where_hashes_are_wanted(folder):
    write_vectors(folder / "v.parquet", np.repeat(clouds(3), 2, axis=0))
    assert len(find_duplicates("v.parquet")) == 3
    with pytest.raises(DatasetError, match="perceptual_hash"):
        find_duplicates("v.parquet", by="hash")
    with pytest.raises(InputError, match="Received: 'eye'"):
        find_duplicates("v.parquet", by="eye")


@pytest.mark.parametrize("digits", ["zz" * 32, "00", ""])
def test_hashes_that_are_none_are_refused(folder, digits):
    pq.write_table(pa.table({"id": ["a"], "perceptual_hash": [digits]}), folder / "v.parquet")
    with pytest.raises(DatasetError, match=r"v\.parquet"):
        find_duplicates("v.parquet")


def test_beyond_the_exact_limit_an_index_finds_them(folder, monkeypatch):
    pytest.importorskip("usearch")
    monkeypatch.setattr(duplicates, "EXACT_LIMIT", 500)
    vectors = np.random.default_rng(0).standard_normal((3000, 32)).astype(np.float32)
    for at in range(100):
        vectors[2000 + 7 * at] = vectors[9 * at] + 0.01
    groups = find_duplicates(write_vectors(folder / "v.parquet", vectors), threshold=0.99)
    found, wanted = as_rows(groups), {9 * at: [2000 + 7 * at] for at in range(100)}
    assert found.items() <= wanted.items()
    assert len(found) >= 95  # an index misses one now and then, by which thread came first


def test_nothing_alike_and_nothing_at_all_are_no_groups(folder):
    assert find_duplicates(write_vectors(folder / "v.parquet", np.eye(9))) == []
    assert find_duplicates(write_vectors(folder / "e.parquet", np.empty((0, 4)))) == []


def test_vectors_of_zeros_are_like_nothing(folder):
    assert find_duplicates(write_vectors(folder / "v.parquet", np.zeros((3, 4)))) == []


@pytest.mark.parametrize("threshold", [0, -1, 1.01])
def test_a_threshold_out_of_range_is_refused(folder, threshold):
    with pytest.raises(InputError, match="threshold"):
        find_duplicates("v.parquet", threshold=threshold)
