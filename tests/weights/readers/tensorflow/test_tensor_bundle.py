"""Tensor bundles are read exactly, whatever is wrong in them is noticed."""

from __future__ import annotations

import os
import tracemalloc

import numpy as np
import pytest

import tensorflow_files as tff
from mobilenet_hub.errors import MissingWeightsError, WeightsError
from mobilenet_hub.networks import network
from mobilenet_hub.weights.readers.tensorflow.checkpoint import read_checkpoint
from slim_networks import (
    V1,
    assert_equal,
    random_tensors,
)


def test_a_checkpoint_may_be_named_in_every_way(tmp_path):
    tensors = random_tensors(V1)
    tff.write_bundle(tmp_path / "model.ckpt-123", tensors, shards=2)
    for path in (
        tmp_path,
        tmp_path / "model.ckpt-123",
        tmp_path / "model.ckpt-123.index",
        tmp_path / "model.ckpt-123.data-00001-of-00002",
        str(tmp_path / "model.ckpt-123"),
    ):
        assert_equal(read_checkpoint(path).tensors, tensors)


def test_a_folder_with_two_checkpoints_is_refused_by_their_names(tmp_path):
    for step in (1, 2):
        tff.write_bundle(tmp_path / f"model.ckpt-{step}", random_tensors(V1))
    with pytest.raises(WeightsError, match=r"exactly one.*model\.ckpt-1\.index.*ckpt-2"):
        read_checkpoint(tmp_path)


def test_half_precision_is_widened_exactly(tmp_path):
    tensors = random_tensors(V1)
    half = {name: array.astype(np.float16) for name, array in tensors.items()}
    tff.write_bundle(tmp_path / "half", half)
    assert_equal(read_checkpoint(tmp_path / "half").tensors, half)
    upper = {
        name: (array.view(np.uint32) >> 16).astype(np.uint16) for name, array in tensors.items()
    }
    tff.write_bundle(tmp_path / "bfloat16", upper)
    wide = {name: (array.astype(np.uint32) << 16).view(np.float32) for name, array in upper.items()}
    assert_equal(read_checkpoint(tmp_path / "bfloat16").tensors, wide)


def test_loaded_tensors_cannot_be_changed(tmp_path):
    tff.write_bundle(tmp_path / "ckpt", random_tensors(V1))
    for array in read_checkpoint(tmp_path / "ckpt").tensors.values():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_reading_takes_less_than_twice_the_memory_of_the_file(tmp_path):
    tensors = random_tensors(network("mobilenet_v2", 1.4))
    tff.write_bundle(tmp_path / "ckpt", tensors)
    size = (tmp_path / "ckpt.data-00000-of-00001").stat().st_size
    assert size > 24e6
    del tensors
    tracemalloc.start()  # numpy reports its arrays to it
    reading = read_checkpoint(tmp_path / "ckpt")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(reading.tensors) == 262
    assert size < peak < 1.3 * size


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_one_wrong_bit_anywhere_is_noticed(tmp_path):
    tensors = random_tensors(V1)
    index, data = tmp_path / "ckpt.index", tmp_path / "ckpt.data-00000-of-00001"
    for path in (index, data):
        tff.write_bundle(tmp_path / "ckpt", tensors)
        original = path.read_bytes()
        blocks = len(original) - 48  # the padding of the footer carries nothing
        for position in [*range(0, blocks, 97), blocks - 1]:
            path.write_bytes(original)
            flip(path, position)
            try:
                reading = read_checkpoint(tmp_path / "ckpt")
            except WeightsError:
                continue
            # Only a block that nobody reads may differ: that of the absent filters.
            assert path == index
            assert_equal(reading.tensors, tensors)
        path.write_bytes(original)
    assert_equal(read_checkpoint(tmp_path / "ckpt").tensors, tensors)


WEIGHTS = "MobilenetV1/Conv2d_0/weights"


SHAPE = V1.layers[0].weights_shape


SIZE = 4 * int(np.prod(SHAPE))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({WEIGHTS: tff.entry(9, SHAPE, 0, 0, 2 * SIZE, 0)}, "must be float32, float64"),
        ({WEIGHTS: tff.entry(1, SHAPE, 0, 0, SIZE + 4, 0)}, "bytes for"),
        ({WEIGHTS: tff.entry(1, (1 << 30, 1 << 30), 0, 0, SIZE, 0)}, "bytes for"),
        ({WEIGHTS: tff.entry(1, (-1,), 0, 0, SIZE, 0)}, "known shape"),
        ({WEIGHTS: tff.entry(1, SHAPE, 0, 0, SIZE, 0)}, "one after the other|checksum"),
        ({WEIGHTS: tff.entry(1, SHAPE, 0, 1 << 40, SIZE, 0)}, "one after the other"),
        ({WEIGHTS: tff.entry(1, SHAPE, 0, (1 << 64) - 4, SIZE, 0)}, "place within"),
        ({WEIGHTS: tff.entry(1, SHAPE, 7, 0, SIZE, 0)}, "place within 1 shards"),
        ({WEIGHTS: tff.entry(1, SHAPE, 0, 0, SIZE, 0) + tff.proto((7, b""))}, "part of 4"),
        ({"": tff.header(1, big_endian=True)}, "big-endian"),
        ({"": tff.header(1, min_consumer=2)}, "newer reader"),
        ({"": tff.header(0)}, "shards"),
        ({"": b"\xff\xff"}, "varint"),
        ({"MobilenetV2/Conv/weights": tff.entry(1, (1,), 0, 0, 4, 0)}, "several networks"),
        ({f"module/{WEIGHTS}": tff.entry(1, SHAPE, 0, 0, SIZE, 0)}, "several networks"),
        ({f"{WEIGHTS}:0": tff.entry(1, SHAPE, 0, 0, SIZE, 0)}, "twice"),
        (
            {"MobilenetV1/Conv2d_0/act_quant/min": tff.entry(1, (), 0, 0, 4, 0)},
            "trained for quantisation",
        ),
    ],
)  # fmt: skip
def test_an_unsound_index_is_refused_with_the_reason(tmp_path, changes, message):
    tff.write_bundle(tmp_path / "ckpt", random_tensors(V1), changes=changes)
    with pytest.raises(WeightsError, match=f"(?s){message}.*Received: "):
        read_checkpoint(tmp_path / "ckpt")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(MissingWeightsError, match=r"absent\.ckpt\.index"):
        read_checkpoint(tmp_path / "absent.ckpt")
    tff.write_bundle(tmp_path / "ckpt", random_tensors(V1), shards=2)
    (tmp_path / "ckpt.data-00001-of-00002").unlink()
    with pytest.raises(MissingWeightsError, match="data-00001-of-00002"):
        read_checkpoint(tmp_path / "ckpt")


def test_a_shard_cut_short_is_refused(tmp_path):
    tff.write_bundle(tmp_path / "ckpt", random_tensors(V1))
    shard = tmp_path / "ckpt.data-00000-of-00001"
    os.truncate(shard, shard.stat().st_size - 1)
    with pytest.raises(WeightsError, match=r"within the .* bytes of the shard"):
        read_checkpoint(tmp_path / "ckpt")
