"""The cache: nothing half-written, nothing changed unnoticed, shared by processes and users."""

from __future__ import annotations

import json

import pytest

from mobilenet_hub.errors import (
    CacheError,
    WeightsError,
)
from mobilenet_hub.files import cache_directory
from mobilenet_hub.weights.storage import store
from mobilenet_hub.weights.storage.cache import Cache
from weights_support import INFO, KEY, weights_of

ENDLESS = json.dumps(
    {"key": KEY, "file": "x", "sha256": "x", "size": 0, "has_logits": True, "metadata": {}}
).replace(" 0,", " 1e999,")


def test_a_changed_file_in_the_cache_is_noticed_at_every_load():
    entry = store.keep(weights_of(INFO), INFO)
    path = Cache().path(entry)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="changed or damaged"):
        store.load_weights(INFO)
    assert "changed or damaged" in Cache().verify()[KEY]
    Cache().prune()
    assert Cache().entries() == []


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"key": "x"}', b"\xff\xfe", ENDLESS.encode()]
)
def test_a_damaged_record_is_an_error_and_prune_removes_it(damage):
    store.keep(weights_of(INFO), INFO)
    (Cache().weights_directory / f"{KEY}.json").write_bytes(damage)
    with pytest.raises(CacheError, match="prune"):
        store.load_weights(INFO)
    Cache().prune()
    assert list(Cache().weights_directory.iterdir()) == []
    store.keep(weights_of(INFO), INFO)
    assert store.is_here(INFO)


def test_a_record_cannot_name_a_file_elsewhere(tmp_path):
    store.keep(weights_of(INFO), INFO)
    record = Cache().weights_directory / f"{KEY}.json"
    value = json.loads(record.read_text())
    value["file"] = "../../elsewhere.safetensors"
    record.write_text(json.dumps(value))
    with pytest.raises(CacheError, match="elsewhere"):
        store.load_weights(INFO)


def test_prune_keeps_what_is_sound_and_what_somebody_works_on():
    entry = store.keep(weights_of(INFO), INFO)
    cache = Cache()
    stale = cache.weights_directory / f".{KEY}.json.0123.part"
    busy = cache.make_downloads() / "mobilenet_v2_050_96.x.tgz.part"
    foreign = cache.weights_directory / "README"
    for path in (stale, busy, foreign):
        path.write_bytes(b"x")
    with cache.lock("mobilenet_v2_050_96"):
        assert cache.prune() == {stale: None}
    assert cache.prune() == {busy: None}
    assert foreign.exists()
    assert cache.load(entry).sha256 == entry.sha256


def test_what_replaces_weights_leaves_no_old_file():
    store.keep(weights_of(INFO, seed=1), INFO)
    entry = store.keep(weights_of(INFO, seed=2), INFO)
    assert sorted(path.name for path in Cache().weights_directory.iterdir()) == sorted(
        [f"{KEY}.json", entry.file]
    )


def test_a_lock_is_held_by_one_at_a_time():
    cache = Cache()
    with cache.lock("x") as mine:
        assert mine
        with cache.lock("x", wait=False) as also_mine:
            assert not also_mine
    with cache.lock("x", wait=False) as mine:
        assert mine


def test_the_cache_directory_is_chosen_by_the_environment(monkeypatch, tmp_path):
    assert cache_directory() == tmp_path / "cache"
    monkeypatch.delenv("MOBILENET_HUB_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_directory().name == "mobilenet-hub"
    assert cache_directory().is_relative_to(tmp_path)


@pytest.mark.parametrize("mode", [0o2770, 0o3777, 0o755])
def test_what_is_made_in_a_shared_cache_is_as_open_as_the_cache_is(tmp_path, mode):
    cache = Cache(tmp_path / "shared")
    cache.directory.mkdir()
    cache.directory.chmod(mode)
    cache.put(KEY, weights_of(INFO))
    cache.make_downloads()
    with cache.lock(KEY):
        pass
    for folder in (cache.weights_directory, cache.downloads_directory):
        assert oct(folder.stat().st_mode & 0o7777) == oct(mode)
    assert oct((cache.directory / "locks").stat().st_mode & 0o7777) == oct(mode & 0o6777)
