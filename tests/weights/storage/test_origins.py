"""Where each checkpoint can be had, and what is known of it there."""

from __future__ import annotations

import hashlib

import pytest

import tensorflow_files as tff
from mobilenet_hub.catalog import modules
from mobilenet_hub.files import cache_directory
from mobilenet_hub.weights.storage import origins, store
from mobilenet_hub.weights.storage.cache import Cache
from weights_support import BUNDLED_V2, INFO, equal, weights_of


def test_modules_that_tensorflow_hub_left_on_the_machine_are_used(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "tfhub"))
    monkeypatch.delenv("MOBILENET_HUB_CACHE_DIR")
    assert cache_directory() == tmp_path / "tfhub" / "mobilenet-hub"
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
    assert not cache_directory().exists()  # that folder may be one that only others write to


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
