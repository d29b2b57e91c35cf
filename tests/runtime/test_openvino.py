"""OpenVINO is imported without what nobody asked for, and is whole for other code all the same."""

from __future__ import annotations

import subprocess
import sys
import textwrap

from mobilenet_hub.graph.onnx_format import Graph, Node, Port


def test_the_converter_is_imported_only_by_who_calls_it(tmp_path):
    graph = Graph("g", [Port("x", (2,))], [Port("y", (2,))], [Node("Relu", ["x"], "y", {})])
    (tmp_path / "relu.onnx").write_bytes(graph.to_bytes())
    code = """
        import sys, numpy
        sys.modules["openvino_telemetry"] = None  # it would report this test
        from mobilenet_hub.runtime.openvino import import_openvino
        openvino = import_openvino()
        print("openvino.tools.ovc" in sys.modules)
        model = openvino.convert_model("relu.onnx")
        print(openvino.compile_model(model, "CPU")([numpy.float32([-1, 2])])[0])
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines() == ["False", "[0. 2.]"]
