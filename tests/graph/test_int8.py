"""The graph in int8: valid, close to float32, and free of sums that 16 bits cannot hold."""

from __future__ import annotations

import platform
from collections import Counter

import numpy as np
import onnx
import pytest

from calibration_support import clouds, least_cosine, measured
from mobilenet_hub.graph import build_graph
from mobilenet_hub.graph.int8 import QuantizedBuilder
from mobilenet_hub.graph.quantize import quantize
from mobilenet_hub.runtime import GraphSpec, Runner, make_engine
from mobilenet_hub.runtime.openvino import import_openvino
from mobilenet_hub.settings import Compute
from mobilenet_hub.weights.calibration import Calibration
from weights_support import load_bundled

V2 = "mobilenet_v2_035_224"


@pytest.fixture(scope="module", params=[V2, "mobilenet_v1_025_224"])
def weights(request):
    return load_bundled(request.param)


@pytest.fixture(scope="module")
def calibration(weights):
    return measured(weights)


def builder(weights, calibration):
    return None if calibration is None else QuantizedBuilder(weights, calibration)


def runner(weights, calibration=None, engine="openvino", task="feature_vector"):
    def build(spec: GraphSpec):
        return build_graph(
            weights, task, endpoints=spec.endpoints, input_dtype=spec.input_dtype,
            size=(spec.height, spec.width), builder=builder(weights, calibration),
        )  # fmt: skip

    precision = "float32" if calibration is None else "int8"
    return Runner(build, make_engine(Compute(engine, precision)))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_model_passes_onnxs_checker(weights, calibration, dtype):
    graph = build_graph(
        weights,
        "feature_vector",
        input_dtype=dtype,
        size=(96, 96),
        builder=QuantizedBuilder(weights, calibration),
    )
    onnx.checker.check_model(onnx.load_from_string(graph.to_bytes()), full_check=True)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_features_are_close_to_float32_on_other_pictures(weights, calibration, engine):
    images = clouds(8, seed=1)
    exact = runner(weights)(images)["default"]
    rounded = runner(weights, calibration, engine)(images)["default"]
    assert least_cosine(exact, rounded) > 0.97
    assert np.abs(exact - rounded).max() > 0


@pytest.mark.parametrize(
    "name, engine", [(V2, "openvino"), ("mobilenet_v1_025_224", "onnxruntime")]
)
def test_the_more_layers_stay_in_float32_the_closer_it_comes(name, engine):
    """Of V2, 15 end with a sum that is stored, and that a later one adds."""
    weights, images = load_bundled(name), clouds(8, seed=1)
    exact = runner(weights)(images)["default"]
    errors = [
        np.abs(
            runner(weights, measured(weights, float_layers=n), engine)(images)["default"] - exact
        )
        for n in (0, 15, len(weights.network.convolutions) - 1)
    ]
    most, middle, least = (error.mean() for error in errors)
    assert most > 1.1 * middle > 1.5 * least > 0


def test_first_layers_in_float32_are_computed_exactly():
    weights, images = load_bundled(V2), clouds(2, seed=4)
    calibration = measured(weights, float_layers=3)
    inside, last = "MobilenetV2/layer_1", "MobilenetV2/layer_2/output"
    exact, mixed = (
        runner(weights)(images, (inside, last)),
        runner(weights, calibration)(images, (inside, last)),
    )
    np.testing.assert_allclose(mixed[inside], exact[inside], atol=1e-5)
    step = calibration.ranges["MobilenetV2/expanded_conv/project"] / 127
    off = np.abs(mixed[last] - exact[last])
    assert step / 10 < off.max()
    assert np.median(off) <= 0.51 * step


@pytest.mark.parametrize("float_layers", [0, 5])
def test_a_calibration_that_was_read_from_a_file_gives_what_it_gave_before(float_layers):
    """Of weights that classify, whose network is another object than a calibration's own."""
    weights = load_bundled("mobilenet_v1_025_224")
    made = measured(weights, float_layers=float_layers)
    read = Calibration.from_bytes(made.to_bytes(), "file")
    images = clouds(2, seed=6)
    np.testing.assert_array_equal(
        runner(weights, read)(images)["default"], runner(weights, made)(images)["default"]
    )


def test_float_images_give_what_their_pixels_give(weights, calibration):
    images = clouds(4, seed=2)
    run = runner(weights, calibration)
    np.testing.assert_array_equal(
        run(images)["default"], run(images.astype(np.float32) / 255)["default"]
    )


def test_an_images_features_do_not_depend_on_its_place(weights, calibration):
    images, run = clouds(19, seed=3), runner(weights, calibration)
    together = run(images)["default"]
    np.testing.assert_array_equal(run(images[::-1].copy())["default"][::-1], together)
    np.testing.assert_array_equal(run(images[5:6], throughput=True)["default"], together[5:6])


def test_endpoints_and_the_sums_of_residuals_are_in_their_units():
    weights = load_bundled(V2)
    names = ("MobilenetV2/layer_4/output", "MobilenetV2/layer_18/output")
    images = clouds(2, seed=4)
    exact, rounded = (
        runner(weights)(images, names),
        runner(weights, measured(weights))(images, names),
    )
    for name in names:
        flat = [outputs[name].reshape(2, -1) for outputs in (exact, rounded)]
        assert least_cosine(*flat) > 0.98
        np.testing.assert_allclose(flat[0].std(), flat[1].std(), rtol=0.05)


def test_no_two_products_of_neighbours_exceed_16_bits(weights, calibration):
    """Whatever bytes come in: 255 times the sum of two weights stays within ±32767."""
    for layer in weights.network.convolutions:
        kernel = quantize(weights, calibration)[layer.scope].kernel.astype(np.int64)
        if layer.kind == "depthwise":  # not summed over inputs
            continue
        for laid_out in (kernel, kernel.transpose(0, 2, 3, 1)):
            flat = laid_out.reshape(len(kernel), -1)
            flat = np.pad(flat, ((0, 0), (0, flat.shape[1] % 2)))
            assert 255 * np.abs(flat[:, 0::2] + flat[:, 1::2]).max() <= 32767, layer.scope


def test_kernels_use_all_their_levels(weights, calibration):
    for name, layer in list(quantize(weights, calibration).items())[1:]:
        most = np.abs(layer.kernel.astype(int)).reshape(len(layer.kernel), -1).max(1)
        assert np.median(most) > 80, name


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other CPUs call it otherwise")
def test_openvino_computes_every_convolution_in_int8_and_nothing_else_but_the_pooling(
    weights, calibration
):
    graph = build_graph(
        weights,
        "feature_vector",
        input_dtype="uint8",
        size=(96, 96),
        builder=QuantizedBuilder(weights, calibration),
    )
    core = import_openvino().Core()
    compiled = core.compile_model(
        core.read_model(graph.to_bytes(batch=4)),
        "CPU",
        {"PERF_COUNT": "YES", "INFERENCE_PRECISION_HINT": "f32"},
    )
    request = compiled.create_infer_request()
    request.infer({0: clouds(4)})
    done = [(step.node_type, step.exec_type) for step in request.get_profiling_info()]
    computed = Counter(kind for kind, how in done if how.endswith("_I8"))
    in_float = {kind for kind, how in done if how.endswith("_f32")} - {"Reorder"}
    assert computed["Convolution"] + computed["GroupConvolution"] == len(
        weights.network.convolutions
    )
    assert in_float <= {"ReduceMean", "Reshape", "Result"}
