"""The ONNX format as it is written here, read again by the library that defines it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from mobilenet_hub.graph.onnx_format import Graph, Node, Port


def read(graph):
    return onnx.load_from_string(graph.to_bytes()).graph


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int32", "int64"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (200,), (3, 1, 5, 7)])
def test_constants_come_back_as_they_were(dtype, shape):
    value = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    (tensor,) = read(Graph("g", constants={"a value": value})).initializer
    again = numpy_helper.to_array(tensor)
    assert tensor.name == "a value"
    assert again.dtype == value.dtype and again.shape == value.shape
    np.testing.assert_array_equal(again, value)


def test_constants_may_lie_in_memory_in_any_order():
    values = {
        "by columns": np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4)),
        "every other": np.arange(12, dtype=np.int64)[::2],
        "of the other byte order": np.arange(5, dtype=np.float32).astype(">f4"),
    }
    for tensor in read(Graph("g", constants=values)).initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), values[tensor.name])


def test_nodes_are_those_that_the_library_would_make():
    attributes = {"axis": -1, "alpha": 0.1, "mode": "ä word", "pads": [0, 300, -2], "to": 1}
    (node,) = read(Graph("g", nodes=[Node("Any", ["a", "", "b"], "c", attributes)])).node
    assert node == helper.make_node("Any", ["a", "", "b"], ["c"], "c", **attributes)


def test_sizes_of_ports_are_numbers_names_or_open():
    graph = read(
        Graph(
            "a name",
            inputs=[Port("images", ("batch", 224, 300, 3), "uint8")],
            outputs=[Port("map", ("batch", None, None, 1280)), Port("number", ())],
        )
    )
    assert graph.name == "a name"
    assert list(graph.input) == [
        helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["batch", 224, 300, 3])
    ]
    assert list(graph.output) == [
        helper.make_tensor_value_info("map", onnx.TensorProto.FLOAT, ["batch", None, None, 1280]),
        helper.make_tensor_value_info("number", onnx.TensorProto.FLOAT, []),
    ]


def test_a_dtype_that_onnx_calls_otherwise_is_refused():
    with pytest.raises(KeyError, match="float16"):
        Graph("g", constants={"a": np.zeros(3, np.float16)}).to_bytes()


def test_the_batch_may_be_fixed_and_constants_left_to_be_given():
    small, large = np.float32([1, 2]), np.zeros((3, 5), np.int8)
    graph = Graph(
        "g", [Port("images", ("batch", 3))], [Port("default", ("batch", None))],
        constants={"small": small, "large": large},
    )  # fmt: skip
    model = onnx.load_from_string(graph.to_bytes(batch=4, given=["large"])).graph
    assert list(model.input) == [
        helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [4, 3]),
        helper.make_tensor_value_info("large", onnx.TensorProto.INT8, [3, 5]),
    ]
    assert model.output[0].type.tensor_type.shape.dim[0].dim_value == 4
    assert [constant.name for constant in model.initializer] == ["small"]
    assert graph.constants == {"small": small, "large": large}
