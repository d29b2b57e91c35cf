"""Shapes and tensor infos, with the accessors of TensorFlow's."""

from __future__ import annotations

import numpy as np
import pytest

from mobilenet_hub.signatures import Shape, TensorInfo

INFO = TensorInfo(np.dtype(np.float32), Shape((None, 224, 224, 3)))


def test_a_shape_is_a_tuple_with_the_accessors_of_a_tensor_shape():
    shape = INFO.get_shape()
    assert shape == (None, 224, 224, 3) == shape
    assert shape == [None, 224, 224, 3]
    assert shape != [None, 224, 224, 1]
    assert shape.as_list() == [None, 224, 224, 3]
    assert shape[1:].as_list() == [224, 224, 3]
    assert (shape[1], shape.ndims, shape.rank) == (224, 4, 4)
    assert {shape: 1}[(None, 224, 224, 3)] == 1


def test_an_info_is_described_as_tensorflow_hub_did():
    expected = "<hub.ParsedTensorInfo shape=(None, 224, 224, 3) dtype=float32 is_sparse=False>"
    assert repr(INFO) == expected
    assert (INFO.is_sparse, INFO.is_composite, INFO.is_supported_type) == (False, False, True)


@pytest.mark.tensorflow
def test_an_info_is_a_tensor_spec_of_tensorflow():
    tf = pytest.importorskip("tensorflow")
    assert INFO.type_spec == tf.TensorSpec([None, 224, 224, 3], tf.float32)
    assert INFO.dtype == tf.float32
    assert INFO.get_shape() == tf.TensorShape([None, 224, 224, 3]) == INFO.get_shape()
    assert INFO.is_compatible_with(tf.zeros([2, 224, 224, 3]))
