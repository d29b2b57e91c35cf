"""Where weights are found: in the stated order, verified, and pinned."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mobilenet_hub as hub
import tensorflow_files as tff
from mobilenet_hub.catalog import find, modules
from mobilenet_hub.errors import (
    AmbiguousModuleError,
    CacheError,
    MissingWeightsError,
    PinError,
    UnknownHandleError,
    WeightsError,
)
from mobilenet_hub.weights import Weights, readers
from mobilenet_hub.weights.bundled import BUNDLED, load_bundled
from mobilenet_hub.weights.identify import identify_module
from mobilenet_hub.weights.random_weights import random_weights
from mobilenet_hub.weights.storage import origins, pins, store
from mobilenet_hub.weights.storage.cache import Cache, default_directory
from mobilenet_hub.weights.storage.pins import Pin

INFO = find("google/imagenet/mobilenet_v1_025_128/classification/3")
KEY = INFO.checkpoint_key
BUNDLED_V2 = find("google/imagenet/mobilenet_v2_100_224/feature_vector/3")


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    """An empty cache, no network, no lock file above."""
    for variable in (
        "TFHUB_CACHE_DIR",
        "MOBILENET_HUB_LOCK",
        "MOBILENET_HUB_MIRROR",
        "HF_ENDPOINT",
    ):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MOBILENET_HUB_OFFLINE", "1")
    monkeypatch.setenv("MOBILENET_HUB_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "cache"


def weights_of(info, seed=1, logits=True):
    weights = random_weights(info.network, seed=seed, logits=logits)
    task = "classification" if logits else "feature_vector"
    return Weights(
        weights.network, weights.tensors, {"source": "x", "handle": replace(info, task=task).handle}
    )


def equal(a, b):
    return sorted(a.tensors) == sorted(b.tensors) and all(
        a.tensors[name].tobytes() == b.tensors[name].tobytes() for name in a.tensors
    )


# Order ------------------------------------------------------------------------------------------


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


def test_modules_that_tensorflow_hub_left_on_the_machine_are_used(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "tfhub"))
    monkeypatch.delenv("MOBILENET_HUB_CACHE_DIR")
    assert default_directory() == tmp_path / "tfhub" / "mobilenet-hub"
    name = hashlib.sha1(INFO.url.encode()).hexdigest()
    expected = weights_of(INFO)
    tff.write_bundle(
        tmp_path / "tfhub" / name / "variables" / "variables",
        {f"module/{key}": value for key, value in expected.tensors.items()},
    )
    (tmp_path / "tfhub" / name / "saved_model.pb").write_bytes(b"")
    assert store.is_here(INFO)
    assert equal(store.load_weights(INFO), expected)
    assert store.load_weights(INFO).metadata["handle"] == INFO.handle
    assert store.local_path(INFO.handle) == str(tmp_path / "tfhub" / name)
    assert not default_directory().exists()  # that folder may be one that only others write to


def test_kagglehub_is_asked_where_it_is_installed(tmp_path, monkeypatch):
    pytest.importorskip("kagglehub")
    handle = origins.kaggle_handle(INFO)
    assert handle == "google/mobilenet-v1/tensorFlow2/025-128-classification/2"
    # The real kagglehub, which has the module in its cache already; and a network that is down.
    folder = tmp_path / "kaggle" / "models" / handle
    keys = {
        n: f"variables/{i}/.ATTRIBUTES/VARIABLE_VALUE"
        for i, n in enumerate(weights_of(INFO).tensors)
    }
    bundle = {keys[name]: array for name, array in weights_of(INFO).tensors.items()}
    bundle["_CHECKPOINTABLE_OBJECT_GRAPH"] = tff.object_graph(keys)
    tff.write_bundle(folder / "variables" / "variables", bundle)
    (folder / "saved_model.pb").write_bytes(b"")
    (folder.parent / "2.complete").touch()
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("MOBILENET_HUB_OFFLINE", "0")
    entry = store.fetch(INFO)
    assert equal(Cache().load(entry), weights_of(INFO))
    assert entry.metadata["source"] == f"Kaggle {handle}"


def test_sources_are_data(monkeypatch):
    urls = {key: [s.address for s in origins.remote_origins(info) if s.kind == "url"]
            for key, info in {r.checkpoint_key: r for r in modules().values()}.items()}  # fmt: skip
    assert len(urls) == 38
    google = "https://storage.googleapis.com/"
    assert urls["mobilenet_v2_035_96"] == [
        f"{google}mobilenet_v2/checkpoints/mobilenet_v2_0.35_96.tgz",
        "https://huggingface.co/google/mobilenet_v2_0.35_96/resolve/main/model.safetensors",
    ]
    assert urls["mobilenet_v1_050_160"] == [
        f"{google}download.tensorflow.org/models/mobilenet_v1_2018_02_22/mobilenet_v1_0.5_160.tgz"
    ]
    assert all(key in urls for key in origins.HUGGING_FACE)
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert origins.remote_origins(BUNDLED_V2)[-1].address.startswith("https://mirror.example/goo")
    monkeypatch.setenv("MOBILENET_HUB_MIRROR", "https://mirror.example/archives/")
    assert [s.address for s in origins.remote_origins(BUNDLED_V2)] == [
        "https://mirror.example/archives/mobilenet_v2_1.0_224.tgz"
    ]


@pytest.mark.parametrize(
    ("value", "expected"), [("1", True), ("true", True), ("0", False), ("", False), ("No", False)]
)
def test_offline_is_a_switch(monkeypatch, value, expected):
    monkeypatch.setenv("MOBILENET_HUB_OFFLINE", value)
    assert origins.offline() is expected


# Paths and handles ----------------------------------------------------------------------------


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
        with pytest.raises(MissingWeightsError, match="nothing at this path"):
            hub.resolve(path)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("mobilenet_v1_0.25_160.ckpt", 160),
        ("mobilenet_v1_025_160", 160),
        ("MobileNet_v1_0.25_192_frozen.pb", 192),
        ("025-128-classification", 128),
        ("mobilenet_v1_0.5_160.ckpt", None),
        ("mobilenet_v2_0.25_160.ckpt", None),
        ("mobilenet_v1_0.25_1600", None),
    ],
)
def test_names_of_files_tell_the_size(name, size):
    weights = random_weights(INFO.network)
    if size is None:
        with pytest.raises(AmbiguousModuleError):
            identify_module(weights, names=[name])
    else:
        assert identify_module(weights, names=["/x/y", name]).image_size == size


@pytest.mark.parametrize("key", sorted({r.checkpoint_key for r in modules().values()}))
def test_every_checkpoint_is_known_by_the_name_of_its_archive(key):
    info = next(r for r in modules().values() if r.checkpoint_key == key)
    weights = random_weights(info.network, logits=False)
    assert identify_module(weights, names=[f"{info.checkpoint_name}.tgz"]).checkpoint_key == key
    assert identify_module(weights, names=[key]).checkpoint_key == key


# What is read -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("model.pth", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."),
        ("weights.pkl", b"\x80\x04\x95\x10"),
        ("old.pkl", b"(dp0\nS'a'\np1\n"),
        ("model.safetensors", b"\x80\x03}q\x00."),
    ],
)
def test_a_pickle_is_refused_with_advice_and_never_run(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(WeightsError, match="never does") as caught:
        readers.read(tmp_path / name)
    assert "safetensors" in str(caught.value)


def test_a_zip_that_torch_wrote_is_refused(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02cos\nsystem\n")
    with pytest.raises(WeightsError, match="is a pickle"):
        readers.read(tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["x.pt", "x.pkl", "x.bin"])
def test_an_empty_file_is_not_called_a_pickle(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(WeightsError, match="of no format"):
        readers.read(tmp_path / name)


def test_a_pipe_beside_the_weights_is_not_waited_for(tmp_path):
    path = tmp_path / "mobilenet_v1_0.25_128.ckpt"
    tff.write_bundle(path, weights_of(INFO).tensors)
    os.mkfifo(tmp_path / f"{path.name}.data-00000-of-00002")
    assert equal(readers.read(path), weights_of(INFO))


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(100), bytes(5000)])
def test_other_files_are_refused_with_what_would_be_read(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(WeightsError, match=r"expected safetensors.*Received: b"):
        readers.read(tmp_path / "x")


def test_folders_are_looked_into(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(WeightsError, match="an empty folder"):
        readers.read(folder)
    weights_of(INFO).save(folder / "one.safetensors")
    assert readers.read(folder).network == INFO.network
    weights_of(INFO).save(folder / "two.safetensors")
    with pytest.raises(WeightsError, match=r"several.*one\.safetensors, two\.safetensors"):
        readers.read(folder)


def test_what_is_converted_is_read_again_with_its_provenance(tmp_path):
    from mobilenet_hub.conversion.importing import convert_file

    source = tmp_path / "a.safetensors"
    weights_of(INFO).save(source)
    path, _ = convert_file(source, "safetensors", output=tmp_path / "b.safetensors")
    again = readers.read(path)
    assert equal(again, weights_of(INFO))
    assert again.metadata["handle"] == INFO.handle
    assert again.metadata["source"] == "x"


def test_a_checkpoint_in_a_folder_an_archive_and_by_its_prefix_is_the_same(tmp_path):
    import tarfile

    folder = tmp_path / "mobilenet_v1_0.25_128"
    expected = weights_of(INFO)
    tff.write_bundle(folder / "model.ckpt", dict(expected.tensors))
    with tarfile.open(tmp_path / "mobilenet_v1_0.25_128.tgz", "w:gz") as tar:
        for path in folder.iterdir():
            tar.add(path, path.name)
    for path in (folder, folder / "model.ckpt", folder / "model.ckpt.index",
                 tmp_path / "mobilenet_v1_0.25_128.tgz"):  # fmt: skip
        weights = readers.read(path)
        assert equal(weights, expected)
        assert identify_module(weights).checkpoint_key == KEY
        assert len(weights.metadata["source_sha256"]) == 64


# The cache --------------------------------------------------------------------------------------


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


ENDLESS = json.dumps(
    {"key": KEY, "file": "x", "sha256": "x", "size": 0, "has_logits": True, "metadata": {}}
).replace(" 0,", " 1e999,")


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
        assert cache.prune() == [stale]
    assert cache.prune() == [busy]
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
    assert default_directory() == tmp_path / "cache"
    monkeypatch.delenv("MOBILENET_HUB_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_directory().name == "mobilenet-hub"
    assert default_directory().is_relative_to(tmp_path)


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


def test_weights_planted_with_their_record_do_not_verify(tmp_path):
    entry = store.keep(weights_of(INFO, seed=1), INFO)
    assert pins.verify(Cache()) == {KEY: None}
    elsewhere = Cache(tmp_path / "elsewhere")
    planted = elsewhere.put(KEY, weights_of(INFO, seed=2))
    for source in (elsewhere.path(planted), elsewhere.weights_directory / f"{KEY}.json"):
        (Cache().weights_directory / source.name).write_bytes(source.read_bytes())
    assert Cache().verify() == {KEY: None}  # each fits the other
    assert "somebody put it there" in pins.verify(Cache())[KEY]
    assert store.keep(weights_of(INFO, seed=1), INFO) == entry
    assert pins.verify(Cache()) == {KEY: None}


# Features and logits of one checkpoint -----------------------------------------------------------


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


@pytest.mark.parametrize(
    ("origin", "known"),
    [
        (origins.Origin("url", INFO.checkpoint_url), True),
        (
            origins.Origin("kaggle", "google/mobilenet-v1/tensorFlow2/025-128-classification/2"),
            True,
        ),
        (origins.Origin("url", "https://huggingface.co/google/x/resolve/main/y"), True),
        (origins.Origin("url", "https://mirror.example/mobilenet_v1_0.25_128.tgz"), False),
        (origins.Origin("url", "https://huggingface.co/somebody/x/resolve/main/y"), False),
        (origins.Origin("url", "https://huggingface.co.evil.example/google/x"), False),
    ],
)
def test_the_licence_is_googles_where_google_gives_the_file(origin, known):
    assert ("Google's checkpoint" in origin.license) is known
    assert origin.license.startswith("not known") is not known


# Lock files -------------------------------------------------------------------------------------


def pin(weights, where=Path(pins.FILE_NAME), key=KEY):
    pins.add_pin(where, key, pins.pin_of(weights, "somewhere", "0" * 64))


def test_a_lock_file_above_the_current_folder_counts(monkeypatch):
    store.keep(weights_of(INFO, seed=1), INFO)
    pin(weights_of(INFO, seed=2))
    Path("deep/inside").mkdir(parents=True)
    monkeypatch.chdir("deep/inside")
    with pytest.raises(PinError, match="--repin"):
        store.load_weights(INFO)
    monkeypatch.setenv("MOBILENET_HUB_LOCK", "another.lock")
    assert store.load_weights(INFO)


def test_what_is_pinned_is_loaded_and_what_is_not_is_refused():
    pin(weights_of(INFO))
    store.keep(weights_of(INFO), INFO)
    assert store.load_weights(INFO)
    with pytest.raises(PinError):
        store.keep(weights_of(INFO, seed=2), INFO)
    store.keep(weights_of(INFO, seed=2), INFO, repin=True)
    assert equal(store.load_weights(INFO), weights_of(INFO, seed=2))


def test_a_pin_with_logits_accepts_the_same_network_without():
    pin(weights_of(INFO))
    store.keep(weights_of(INFO, logits=False), INFO)
    assert store.load_weights(replace(INFO, task="feature_vector"))


def test_embedded_weights_that_are_not_the_pinned_ones_are_not_used():
    pin(load_bundled("mobilenet_v2_100_224"), key="mobilenet_v2_100_224")
    assert store.load_weights(BUNDLED_V2)
    pin(weights_of(BUNDLED_V2), key="mobilenet_v2_100_224")
    with pytest.raises(MissingWeightsError):
        store.load_weights(BUNDLED_V2)


def test_a_pin_is_of_the_tensors_not_of_the_file():
    weights = weights_of(INFO)
    again = Weights(weights.network, dict(weights.tensors), {"source": "another"})
    assert pins.tensor_digests(weights) == pins.tensor_digests(again)
    changed = {name: np.array(value) for name, value in weights.tensors.items()}
    changed["MobilenetV1/Conv2d_0/weights"][0, 0, 0, 0] += 1
    features, logits = pins.tensor_digests(Weights(weights.network, changed))
    assert features != pins.tensor_digests(weights)[0]
    assert logits == pins.tensor_digests(weights)[1]


def test_lock_files_are_stable_text():
    a = Pin("a", "1", "2", "3")
    pins.add_pin("x.lock", "mobilenet_v2_100_224", a)
    pins.add_pin("x.lock", "mobilenet_v1_100_224", a)
    pins.add_pin("y.lock", "mobilenet_v1_100_224", a)
    pins.add_pin("y.lock", "mobilenet_v2_100_224", a)
    assert Path("x.lock").read_bytes() == Path("y.lock").read_bytes()
    assert pins.read_pins("x.lock") == {"mobilenet_v1_100_224": a, "mobilenet_v2_100_224": a}


@pytest.mark.parametrize(
    "text",
    ["", "<<<<<<< HEAD", "[]", '{"version": 1}', '{"version": 1, "weights": {"a": 3}}'],
)
def test_a_broken_lock_file_is_an_error(text):
    Path(pins.FILE_NAME).write_text(text)
    with pytest.raises(WeightsError, match="not a lock file"):
        store.load_weights(BUNDLED_V2)


def test_a_lock_file_of_the_future_is_an_error():
    Path(pins.FILE_NAME).write_text('{"version": 2, "weights": {}}')
    with pytest.raises(WeightsError, match="upgrade"):
        store.load_weights(BUNDLED_V2)
