"""Parts of divided variables: their keys are TensorFlow's, and none lies outside its tensor."""

from __future__ import annotations

import numpy as np
import pytest

import tensorflow_files as tff
from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.readers.tensorflow.partitions import parts_of
from mobilenet_hub.weights.readers.tensorflow.protobuf import Message
from mobilenet_hub.weights.readers.tensorflow.tensor_bundle import TensorBundle


def slices(*parts):
    """A `BundleEntryProto` with these parts: a start and a length in each dimension, or None."""
    fields = []
    for part in parts:
        extents = [tff.proto() if e is None else tff.proto((1, e[0]), (2, e[1])) for e in part]
        fields.append((7, tff.proto(*((1, extent) for extent in extents))))
    return Message(tff.proto(*fields), "here")


def test_keys_are_those_that_tensorflow_writes():
    # As in the indices of TensorFlow's SaveV2: `v` [300, 5] in rows, `w` [70000] in two.
    entry = slices([(0, 100), None], [(100, 100), None], [(200, 100), None])
    parts = parts_of(entry, b"v", (300, 5), "here")
    assert [part.key for part in parts] == [
        b"\0v\0\1\1\2\x80\xc0\x64\x80\x7f",
        b"\0v\0\1\1\2\xc0\x64\xc0\x64\x80\x7f",
        b"\0v\0\1\1\2\xc0\xc8\xc0\x64\x80\x7f",
    ]
    long = parts_of(slices([(0, 20_000)], [(20_000, 50_000)]), b"w", (70_000,), "here")
    assert [part.key for part in long] == [
        b"\0w\0\1\1\1\x80\xe0\x4e\x20",
        b"\0w\0\1\1\1\xe0\x4e\x20\xe0\xc3\x50",
    ]
    assert parts[1].place == (slice(100, 200), slice(0, 5))
    assert parts[1].shape == (100, 5)


@pytest.mark.parametrize(
    "part",
    [
        [(0, 400), None],
        [(250, 100), None],
        [(2**64 - 1, 100), None],
        [(0, 2**64 - 7), None],
        [(0, 100)],
        [None, None, None],
        [(0, 100), None],  # and nothing else
    ],
)
def test_parts_that_are_none_of_the_tensor_are_refused(part):
    with pytest.raises(WeightsError, match=r"expected (a part|parts)"):
        parts_of(slices(part), b"v", (300, 5), "here")


def test_a_part_that_is_not_in_the_index_is_refused(tmp_path):
    name = "MobilenetV1/x/biases"
    tff.write_bundle(tmp_path / "ckpt", {name: np.zeros(4, np.float32)})
    table = tff.entry(1, (4,), 0, 0, 16, 0)
    parts = tff.proto((7, tff.proto((1, tff.proto((1, 0), (2, 4))))))
    index = tff.table({b"": tff.header(1), name.encode(): table + parts})
    (tmp_path / "ckpt.index").write_bytes(index)
    with pytest.raises(WeightsError, match="expected a part"):
        TensorBundle(tmp_path / "ckpt").read({name: name})
