"""A photo is computed once; the cache is bounded, and losing any of it costs time only."""

from __future__ import annotations

import os

import numpy as np
import pytest

from mobilenet_hub.errors import CacheError
from mobilenet_hub.inference import InferenceModule
from mobilenet_hub.pipeline.processor import settings_for
from mobilenet_hub.pipeline.sources.items import FileItem
from mobilenet_hub.retraining.data import feature_cache
from mobilenet_hub.retraining.data.features import embed_items
from pictures import write_pictures

HANDLE = "google/imagenet/mobilenet_v1_025_224/feature_vector/1"


@pytest.fixture(scope="module")
def module():
    return InferenceModule(HANDLE)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILENET_HUB_CACHE_DIR", str(tmp_path / "cache"))


def items_of(paths):
    return [FileItem(str(path), path.name) for path in paths]


def embed(module, items, log=print, **preprocessing):
    settings = settings_for(module, preprocessing, content_hash=True, perceptual_hash=True)
    return embed_items(items, module, settings, log=log)


def test_only_new_photos_are_computed_and_results_are_the_same_to_the_bit(module, tmp_path):
    paths = write_pictures(tmp_path / "photos", 6)
    cold = embed(module, items_of(paths[:4]))
    warm = embed(module, items_of(paths))
    again = embed(module, items_of(paths))
    assert (cold.computed, warm.computed, again.computed) == (4, 2, 0)
    assert np.array_equal(warm.photos.features, again.photos.features)
    assert np.array_equal(cold.photos.features, warm.photos.features[:4])
    assert warm.photos.digests == again.photos.digests
    assert warm.photos.hashes == again.photos.hashes


def test_other_preprocessing_is_another_space(module, tmp_path):
    items = items_of(write_pictures(tmp_path / "photos", 2))
    embed(module, items)
    assert embed(module, items, crop="none").computed == 2
    assert sorted(space.made["crop"] for space in feature_cache.spaces()) == ["center", "none"]


def test_a_photo_with_another_name_is_known_by_its_content(module, tmp_path):
    paths = write_pictures(tmp_path / "photos", 2)
    embed(module, items_of(paths))
    moved = paths[0].rename(tmp_path / "photos" / "moved.jpg")
    assert embed(module, items_of([moved])).computed == 0


def test_photos_that_cannot_be_read_are_listed_cold_and_warm(module, tmp_path):
    paths = write_pictures(tmp_path / "photos", 3)
    paths[1].write_bytes(b"no picture")
    items = [*items_of(paths), FileItem(str(tmp_path / "gone.jpg"), "gone")]
    for _ in range(2):
        found = embed(module, items)
        assert [(failure.id, failure.stage) for failure in found.failures] == [
            ("0001.jpg", "decode"), ("gone", "read"),
        ]  # fmt: skip
        assert found.rows.tolist() == [0, 2] and len(found.photos.features) == 2


def test_a_damaged_part_is_removed_said_and_computed_again(module, tmp_path):
    items = items_of(write_pictures(tmp_path / "photos", 3))
    whole = embed(module, items)
    (part,) = (tmp_path / "cache" / "features").rglob("*.safetensors")
    sound = part.read_bytes()
    flipped = bytearray(sound)
    flipped[len(sound) // 2] ^= 1  # another feature, just as finite
    for damage in (sound[:-7], b"", b"\xff" * 64, flipped):
        part.write_bytes(damage)
        told = []
        again = embed(module, items, told.append)
        assert again.computed == 3 and "damaged" in told[0]
        assert np.array_equal(whole.photos.features, again.photos.features)


def test_the_least_used_go_where_the_cache_grows_too_large(module, tmp_path):
    paths = write_pictures(tmp_path / "photos", 4)
    for path in paths:
        embed(module, items_of([path]))
    parts = sorted((tmp_path / "cache" / "features").rglob("*.safetensors"))
    for age, part in enumerate(parts):
        os.utime(part, (1000 - age, 1000 - age))
    size = parts[0].stat().st_size
    assert set(feature_cache.prune(2 * size + 100)) == set(parts[2:])
    assert feature_cache.prune(0) and feature_cache.spaces() == []


def test_a_cache_that_cannot_be_written_is_said(module, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("MOBILENET_HUB_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(CacheError):
        embed(module, items_of(write_pictures(tmp_path / "photos", 1)))
