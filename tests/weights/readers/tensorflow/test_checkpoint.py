"""The network in a checkpoint is read bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

import tensorflow_files as tff
from mobilenet_hub.errors import WeightsError
from mobilenet_hub.networks import network
from mobilenet_hub.weights import from_tensors
from mobilenet_hub.weights.readers.tensorflow.checkpoint import read_checkpoint
from slim_networks import (
    VARIABLE_SETS,
    assert_equal,
    random_tensors,
)


@pytest.mark.parametrize(("family", "multiplier"), VARIABLE_SETS)
def test_a_checkpoint_of_every_size_is_read_bit_for_bit(tmp_path, family, multiplier):
    tensors = random_tensors(network(family, multiplier))
    shards = 1 + int(multiplier * 100) % 3
    tff.write_bundle(tmp_path / "model.ckpt", tensors, shards=shards, snappy=multiplier == 1.0)
    reading = read_checkpoint(tmp_path / "model.ckpt")
    assert_equal(reading.tensors, tensors)
    assert not reading.folded
    assert from_tensors(reading.tensors).network.depth_multiplier == multiplier


def test_a_checkpoint_without_a_mobilenet_says_what_it_holds(tmp_path):
    tff.write_bundle(tmp_path / "ckpt", {"resnet_v1_50/conv1/weights": np.zeros(3, np.float32)})
    with pytest.raises(WeightsError, match=r"holds no MobileNet.*resnet_v1_50/conv1/weights"):
        read_checkpoint(tmp_path / "ckpt")
