"""OpenVINO is imported without what nobody asked for, and is whole for other code all the same."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np

from mobilenet_hub.graph.onnx_format import Graph, Node, Port
from mobilenet_hub.runtime import Runner, make_engine
from mobilenet_hub.runtime.openvino import capabilities


def test_the_converter_is_imported_only_by_who_calls_it(tmp_path):
    graph = Graph("g", [Port("x", (2,))], [Port("y", (2,))], [Node("Relu", ["x"], "y", {})])
    (tmp_path / "relu.onnx").write_bytes(graph.to_bytes())
    code = f"""
        import sys, numpy
        sys.modules["openvino_telemetry"] = None  # it would report this test
        from mobilenet_hub.runtime.openvino import import_openvino
        openvino = import_openvino()
        print("openvino.tools.ovc" in sys.modules)
        model = openvino.convert_model({str(tmp_path / "relu.onnx")!r})
        print(openvino.compile_model(model, "CPU")([numpy.float32([-1, 2])])[0])
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False", "[0. 2.]"]


def test_large_constants_are_computed_with_where_they_lie_and_stay_as_they_were():
    generator = np.random.default_rng(0)
    kernel = generator.random((2000, 4), np.float32)
    kernel.flags.writeable = False  # as those of weights are
    images = generator.random((2, 1, 2000, 3), np.float32)
    graph = Graph(
        "g", [Port("images", ("batch", 1, 2000, 3))], [Port("default", ("batch", 1, 3, 4))],
        [Node("Transpose", ["images"], "turned", {"perm": [0, 1, 3, 2]}),
         Node("MatMul", ["turned", "kernel"], "default", {})],
        {"kernel": kernel},
    )  # fmt: skip
    before = kernel.copy()
    outputs = Runner(lambda spec: graph, make_engine())(images, throughput=True)
    expected = images.transpose(0, 1, 3, 2) @ kernel
    np.testing.assert_allclose(outputs["default"], expected, rtol=1e-4)
    np.testing.assert_array_equal(kernel, before)


def test_every_cpu_computes_in_float32():
    assert "FP32" in capabilities()
