"""OpenVINO is imported without what nobody asked for, and is whole for other code all the same."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from mobilenet_hub import files
from mobilenet_hub.graph.onnx_format import Graph, Node, Port
from mobilenet_hub.runtime import Runner, make_engine, openvino
from mobilenet_hub.runtime.compiled_cache import compiled_graphs, write_compiled
from mobilenet_hub.runtime.contracts import LazyModel
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


class Doubled:
    """A graph that adds images to themselves, compiled as `hub.Module` does, and how often."""

    def __init__(self, **made):
        self.built = 0
        self._made = {"what": "doubled", **made}

    def __call__(self, images, *, throughput=True):
        runner = Runner(lambda spec: LazyModel(self._made, self._build), make_engine())
        outputs = runner(images, throughput=throughput)
        for keeper in openvino._keepers.values():
            keeper.join()
        return outputs["default"]

    def _build(self):
        self.built += 1
        return Graph(
            "g", [Port("images", ("batch", 4, 4, 3))], [Port("default", ("batch", 4, 4, 3))],
            [Node("Add", ["images", "images"], "default", {})],
        )  # fmt: skip


@pytest.fixture
def another_process(monkeypatch, tmp_path):
    """An empty cache, and a function after which nothing compiled here is remembered."""
    monkeypatch.setenv("MOBILENET_HUB_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(openvino, "_keepers", {})
    return openvino._keepers.clear


IMAGES = np.random.default_rng(0).random((3, 4, 4, 3), np.float32)


def kept_file():
    [path] = files.cache_directory().glob("compiled-*/*.blob")
    return path


@pytest.mark.parametrize("throughput", [False, True])
def test_what_was_compiled_once_is_not_even_built_again(another_process, throughput):
    double = Doubled()
    for _ in range(2):
        another_process()
        result = double(IMAGES[:1], throughput=throughput)
        np.testing.assert_array_equal(result, 2 * IMAGES[:1])
    assert double.built == 1


def test_each_form_cpu_and_version_has_a_compiled_graph_of_its_own(another_process, monkeypatch):
    Doubled()(IMAGES)
    Doubled()(IMAGES[:1], throughput=False)
    Doubled(precision="another")(IMAGES)
    assert len(compiled_graphs()) == 3
    monkeypatch.setattr(openvino, "cpu_name", lambda: "another CPU")
    Doubled()(IMAGES)
    monkeypatch.setattr(openvino.import_openvino(), "get_version", lambda: "another version")
    Doubled()(IMAGES)
    assert len(compiled_graphs()) == 5


def test_a_damaged_one_is_compiled_again_and_replaced(another_process):
    double = Doubled()
    double(IMAGES)
    sound = kept_file().read_bytes()
    kept_file().write_bytes(sound[:-9] + b"damaged !")
    another_process()
    np.testing.assert_array_equal(double(IMAGES), 2 * IMAGES)
    assert double.built == 2
    assert len(kept_file().read_bytes()) == len(sound)
    another_process()
    double(IMAGES)
    assert double.built == 2


def test_one_that_openvino_does_not_take_is_compiled_again_and_replaced(another_process):
    double = Doubled()
    double(IMAGES)
    [graph] = compiled_graphs()
    write_compiled(json.dumps(graph.made, sort_keys=True), memoryview(b"not a model" * 1000))
    another_process()
    np.testing.assert_array_equal(double(IMAGES), 2 * IMAGES)
    another_process()
    double(IMAGES)
    assert double.built == 2


def test_a_process_keeps_a_few_of_many(another_process):
    for number in range(openvino._MOST_KEPT + 3):
        Doubled(number=number)(IMAGES)
    assert len(compiled_graphs()) == openvino._MOST_KEPT


def test_a_graph_that_nobody_can_name_is_not_kept(another_process):
    Runner(lambda spec: Doubled()._build(), make_engine())(IMAGES)
    assert compiled_graphs() == []
