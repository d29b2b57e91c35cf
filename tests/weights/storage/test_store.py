"""Where a module's weights come from: the order of places, paths and handles, what is kept."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

import mobilenet_hub as hub
from mobilenet_hub.catalog import find, modules
from mobilenet_hub.errors import (
    CacheError,
    MissingWeightsError,
    UnknownHandleError,
)
from mobilenet_hub.weights.storage import store
from mobilenet_hub.weights.storage.cache import Cache
from mobilenet_hub.weights.storage.origins import BUNDLED
from weights_support import BUNDLED_V2, INFO, KEY, equal, load_bundled, weights_of


def test_the_cache_comes_before_the_bundled_weights():
    assert equal(store.load_weights(BUNDLED_V2), load_bundled("mobilenet_v2_100_224"))
    mine = weights_of(BUNDLED_V2)
    store.keep(mine, BUNDLED_V2)
    assert equal(store.load_weights(BUNDLED_V2), mine)
    assert equal(hub.Module(BUNDLED_V2).weights, mine)


def test_a_path_comes_before_the_cache(tmp_path):
    store.keep(weights_of(INFO, seed=1), INFO)
    mine = weights_of(INFO, seed=2)
    mine.save(tmp_path / "mine.safetensors")
    module = hub.Module(tmp_path / "mine.safetensors")
    assert equal(module.weights, mine)
    assert module.info.handle == INFO.handle
    assert hub.get_expected_image_size(str(tmp_path / "mine.safetensors")) == [128, 128]


def test_all_versions_and_both_tasks_share_a_checkpoint():
    store.keep(weights_of(INFO), INFO)
    records = [record for record in modules().values() if record.checkpoint_key == KEY]
    assert len(records) == 8
    assert all(store.is_here(record) for record in records)
    assert len({store.load_weights(record).sha256 for record in records}) == 1


def test_weights_without_logits_serve_feature_vectors_only():
    store.keep(weights_of(INFO, logits=False), INFO)
    features = replace(INFO, task="feature_vector")
    assert store.is_here(features)
    assert not store.load_weights(features).has_logits
    assert not store.is_here(INFO)
    with pytest.raises(MissingWeightsError):
        store.load_weights(INFO)


def test_what_is_nowhere_says_where_it_would_come_from():
    other = find("google/imagenet/mobilenet_v2_050_96/classification/3")
    assert not store.is_here(other)
    with pytest.raises(MissingWeightsError) as caught:
        hub.Module(other.url)
    message = str(caught.value)
    assert other.checkpoint_url in message
    assert f"mobilenet-hub fetch {other.handle}" in message
    assert "mobilenet-hub import" in message
    assert "MOBILENET_HUB_OFFLINE" in message
    assert all(key in message for key in BUNDLED)
    assert message.endswith(f"Received: {other.handle!r}")


def test_resolve_gives_the_path_of_a_handle():
    path = Path(
        hub.resolve("https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5")
    )
    assert hashlib.sha256(path.read_bytes()).hexdigest() == BUNDLED["mobilenet_v2_100_224"]
    store.keep(weights_of(INFO), INFO)
    path = Path(hub.resolve(INFO.handle))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == Cache().get(KEY).sha256
    assert hub.resolve(path) == str(path)


def test_what_is_neither_a_module_nor_a_path_is_an_error():
    with pytest.raises(UnknownHandleError, match="mobilenet_v2_100_224"):
        hub.resolve("google/imagenet/mobilenet_v2_100_225/feature_vector/5")
    for path in ("./weights", "missing.h5", "/nowhere/at/all", Path("missing")):
        with pytest.raises(MissingWeightsError, match="does not exist"):
            hub.resolve(path)


def test_features_leave_the_logits_of_the_same_features_where_they_are():
    whole = store.keep(weights_of(INFO, seed=1), INFO)
    features = replace(INFO, task="feature_vector")
    assert store.keep(weights_of(INFO, seed=1, logits=False), features) == whole
    assert equal(store.load_weights(INFO), weights_of(INFO, seed=1))


def test_other_features_do_not_take_the_place_of_logits_unasked():
    store.keep(weights_of(INFO, seed=1), INFO)
    features = replace(INFO, task="feature_vector")
    other = weights_of(INFO, seed=2, logits=False)
    with pytest.raises(CacheError, match="there would be no logits"):
        store.keep(other, features)
    assert equal(store.load_weights(INFO), weights_of(INFO, seed=1))
    store.keep(other, features, force=True)
    assert equal(store.load_weights(features), other)


def test_an_empty_word_is_neither_a_module_nor_this_folder():
    with pytest.raises(UnknownHandleError):
        store.handle_or_path("")
