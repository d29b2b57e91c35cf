"""Does this machine compute what the original networks computed? It says so, and which not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import mobilenet_hub as hub
from mobilenet_hub.errors import EngineError
from mobilenet_hub.verification import verify as room
from mobilenet_hub.verification.golden import golden_of
from mobilenet_hub.weights.canonical import Weights, load
from mobilenet_hub.weights.storage.store import local_path

SMALL = "google/imagenet/mobilenet_v1_025_224/classification"


@pytest.fixture(scope="module")
def weights():
    return load(local_path(SMALL))


def with_one_changed(weights, name="MobilenetV1/Conv2d_0/weights", by=0.5):
    tensors = dict(weights.tensors)
    tensors[name] = tensors[name].copy()
    tensors[name].flat[0] += by
    return Weights(weights.network, tensors, weights.metadata)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_both_engines_pass(engine):
    outcome = hub.verify(SMALL, engines=[engine], precisions=["float32"])
    (check,) = outcome.checks
    assert outcome.passed and check.passed and check.same_in_every_place
    assert 0 < check.largest_difference < 1e-4
    assert check.lowest_cosine > 0.9999
    assert (outcome.golden, outcome.left_out) == ("mobilenet_v1_025_224", {})
    assert outcome.machine.versions["openvino"]


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_int8_is_near_the_original_and_said_to_be_no_more(engine):
    (check,) = hub.verify(SMALL, engines=[engine], precisions=["int8"]).checks
    assert check.passed and check.same_in_every_place
    assert check.largest_difference > 1e-2
    assert 0.95 < check.lowest_cosine < 0.9999


def test_a_changed_weight_does_not_pass(tmp_path, weights):
    path = tmp_path / "changed.safetensors"
    with_one_changed(weights).save(path)
    outcome = hub.verify(path, precisions=["float32"])
    assert not outcome.passed
    assert (outcome.golden, outcome.checks) == (None, ())


def test_weights_that_give_something_else_than_the_golden_outputs_break_the_tolerance(
    tmp_path, monkeypatch, weights
):
    """As where a library computes wrongly: the weights are taken for the golden ones."""
    path = tmp_path / "changed.safetensors"
    with_one_changed(weights).save(path)
    monkeypatch.setattr(room, "golden_of", lambda changed: golden_of(weights))
    outcome = hub.verify(path, precisions=["float32"])
    assert not outcome.passed
    for check in outcome.checks:
        assert check.largest_difference > 1e-4
        assert "a difference of" in check.broken[0]


def test_values_that_are_not_finite_do_not_pass(monkeypatch, weights):
    golden = golden_of(weights)
    features = np.full_like(golden.features, np.nan)
    monkeypatch.setattr(room, "golden_of", lambda _: dataclasses.replace(golden, features=features))
    outcome = hub.verify(SMALL, engines=["openvino"], precisions=["float32"])
    assert not outcome.passed


def test_a_classifier_of_ones_own_on_golden_features_is_said_to_lack_golden_logits(
    tmp_path, weights
):
    path = tmp_path / "changed.safetensors"
    with_one_changed(weights, "MobilenetV1/Logits/Conv2d_1c_1x1/biases").save(path)
    outcome = hub.verify(path, engines=["openvino"], precisions=["float32"])
    assert not outcome.passed
    assert outcome.checks[0].largest_difference < 1e-4
    assert outcome.checks[0].broken == (
        "there are golden features, but no golden logits, for these weights",
    )


def test_what_cannot_be_had_is_left_out_with_the_reason(monkeypatch):
    monkeypatch.setattr("mobilenet_hub.runtime.openvino.capabilities", lambda: ("FP32",))
    outcome = hub.verify(SMALL, engines=["openvino"], precisions=["float32", "bf16"])
    assert list(outcome.left_out) == ["openvino bf16"]
    assert "no bfloat16" in outcome.left_out["openvino bf16"]
    assert outcome.passed
    with pytest.raises(EngineError, match="no bfloat16"):
        hub.verify(SMALL, precisions=["bf16"])
    with pytest.raises(EngineError, match="Received: none"):
        hub.verify(SMALL, engines=[])


def test_equal_computing_has_an_equal_digest_and_other_machines_have_another(monkeypatch):
    def digest():
        return hub.verify(SMALL, engines=["openvino"], precisions=["float32"]).digest

    before = digest()
    assert digest() == before
    other = dataclasses.replace(room.this_machine(), cpu="another")
    monkeypatch.setattr(room, "this_machine", lambda: other)
    assert digest() != before
