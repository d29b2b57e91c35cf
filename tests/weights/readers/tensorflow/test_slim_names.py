"""A network's variables are picked by their names; slots, averages and scopes are told apart."""

from __future__ import annotations

import numpy as np
import pytest

import tensorflow_files as tff
from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.readers.tensorflow.checkpoint import read_checkpoint
from slim_networks import (
    EMA,
    V1,
    V2,
    assert_equal,
    random_tensors,
)


def with_slots(tensors, averages):
    """A training checkpoint: slots of two optimizers, averages of trained variables, counters."""
    everything = dict(tensors)
    for name, array in tensors.items():
        everything[f"{name}/RMSProp"] = everything[f"{name}/RMSProp_1"] = array + 1
        everything[f"{name}/Adam"] = array + 2
        everything[f"{name}{EMA}"] = averages[name]
    everything["global_step"] = np.array(7, np.int64)
    everything["MobilenetV2/Conv/BatchNorm/moving_mean/local_step"] = np.array(7, np.int64)
    everything["beta1_power"] = np.array(0.9, np.float32)
    everything["Adam/m/MobilenetV2/Conv/weights"] = tensors["MobilenetV2/Conv/weights"]
    return everything


def test_moving_averages_stand_for_the_trained_variables_of_v2_and_slots_are_ignored(tmp_path):
    tensors, averages = random_tensors(V2, 1), random_tensors(V2, 2)
    tff.write_bundle(tmp_path / "ckpt", with_slots(tensors, averages))
    expected = {name: (tensors if "/moving_" in name else averages)[name] for name in tensors}
    reading = read_checkpoint(tmp_path / "ckpt")
    assert reading.moving_averages
    assert_equal(reading.tensors, expected)
    assert_equal(read_checkpoint(tmp_path / "ckpt", use_ema=True).tensors, expected)
    plain = read_checkpoint(tmp_path / "ckpt", use_ema=False)
    assert not plain.moving_averages
    assert_equal(plain.tensors, tensors)


def test_moving_averages_are_left_alone_in_v1_unless_asked_for(tmp_path):
    tensors = random_tensors(V1, 1)
    averages = {
        f"{name}{EMA}": array + 1 for name, array in tensors.items() if "moving_" not in name
    }
    tff.write_bundle(tmp_path / "ckpt", tensors | averages)
    assert_equal(read_checkpoint(tmp_path / "ckpt").tensors, tensors)
    averaged = read_checkpoint(tmp_path / "ckpt", use_ema=True).tensors
    assert_equal(averaged, tensors | {k.removesuffix(EMA): v for k, v in averages.items()})


def test_asking_for_moving_averages_that_are_not_there_is_an_error(tmp_path):
    tff.write_bundle(tmp_path / "ckpt", random_tensors(V2))
    with pytest.raises(WeightsError, match="no exponential moving averages"):
        read_checkpoint(tmp_path / "ckpt", use_ema=True)


def test_scopes_above_the_network_are_dropped(tmp_path):
    tensors = random_tensors(V2)
    scoped = {f"module/{name}:0": array for name, array in tensors.items()}
    head = {"dense/kernel": np.zeros((3, 2), np.float32), "global_step": np.array(1, np.int64)}
    tff.write_bundle(tmp_path / "ckpt", scoped | head)
    assert_equal(read_checkpoint(tmp_path / "ckpt").tensors, tensors)
