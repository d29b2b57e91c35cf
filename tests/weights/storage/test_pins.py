"""What a project or a cache has settled on is what is used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mobilenet_hub.errors import (
    MissingWeightsError,
    PinError,
    WeightsError,
)
from mobilenet_hub.weights import Weights
from mobilenet_hub.weights.storage import pins, store
from mobilenet_hub.weights.storage.cache import Cache
from mobilenet_hub.weights.storage.pins import Pin
from weights_support import BUNDLED_V2, INFO, KEY, equal, load_bundled, weights_of


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
