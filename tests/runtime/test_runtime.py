"""The runtime: the same results in every form, from every thread, on every engine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mobilenet_hub.errors import EngineError
from mobilenet_hub.graph import build_graph
from mobilenet_hub.networks import network
from mobilenet_hub.runtime import Runner, make_engine, micro_batch_of
from mobilenet_hub.runtime.openvino import capabilities
from mobilenet_hub.settings import Compute
from mobilenet_hub.weights.random_weights import random_weights

ENGINES = ["openvino", "onnxruntime"]


@pytest.fixture(scope="module")
def build():
    weights = random_weights(network("mobilenet_v1", 0.25))

    def make(spec):
        return build_graph(
            weights, "classification", endpoints=spec.endpoints, input_dtype=spec.input_dtype,
            size=(spec.height, spec.width),
        )  # fmt: skip

    return make


@pytest.fixture(params=ENGINES)
def runner(build, request):
    return Runner(build, make_engine(Compute(request.param)))


def images(batch, size=96, seed=0):
    return np.random.default_rng(seed).random((batch, size, size, 3), np.float32)


def test_engines_agree(build):
    results = [Runner(build, make_engine(Compute(name)))(images(5))["default"] for name in ENGINES]
    np.testing.assert_allclose(results[0], results[1], atol=1e-4)


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 31])
def test_an_images_result_does_not_depend_on_its_place_in_the_batch(runner, batch):
    whole = runner(images(31))["default"]
    part = runner(images(31)[31 - batch :], throughput=True)["default"]
    np.testing.assert_array_equal(part, whole[31 - batch :])


def test_one_image_alone_gives_what_it_gives_in_a_batch(runner):
    batch = images(6)
    np.testing.assert_allclose(
        runner(batch[2:3])["default"][0], runner(batch)["default"][2], atol=1e-5
    )


def test_uint8_and_float_inputs_agree(runner):
    pixels = np.random.default_rng(1).integers(0, 256, (4, 96, 96, 3), np.uint8)
    np.testing.assert_allclose(
        runner(pixels)["default"], runner(pixels.astype(np.float32) / 255)["default"], atol=1e-4
    )


def test_read_only_images_are_accepted(runner):
    frozen = images(5)
    frozen.flags.writeable = False
    np.testing.assert_array_equal(runner(frozen)["default"], runner(images(5))["default"])


def test_endpoints_come_beside_the_default(runner):
    outputs = runner(images(3), ("MobilenetV1/Conv2d_1_pointwise",))
    assert list(outputs) == ["default", "MobilenetV1/Conv2d_1_pointwise"]
    assert outputs["MobilenetV1/Conv2d_1_pointwise"].shape == (3, 48, 48, 16)


def test_many_threads_at_once_get_their_own_results(runner):
    batches = [images(1 + seed % 7, seed=seed) for seed in range(24)]
    expected = [runner(batch, throughput=True)["default"] for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda b: runner(b, throughput=True)["default"], batches * 3))
    for result, wanted in zip(results, expected * 3, strict=True):
        np.testing.assert_array_equal(result, wanted)


def test_compiled_forms_are_bounded(build):
    runner = Runner(build, make_engine())
    for size in range(32, 32 + 12):
        runner(images(1, size))
    assert len(runner._sessions) <= 8


@pytest.mark.parametrize(("size", "images"), [(224, 1), (160, 2), (128, 4), (96, 8), (1000, 1)])
def test_micro_batches_fit_the_cache(size, images):
    assert micro_batch_of(size, size) == images


@pytest.mark.parametrize(("size", "images"), [(224, 4), (96, 16), (1000, 1)])
def test_bytes_leave_room_for_more_images(size, images):
    assert micro_batch_of(size, size, "int8") == images


def test_bf16_is_close_to_float32_or_refused_where_the_cpu_has_none(build):
    if "BF16" not in capabilities():
        with pytest.raises(EngineError, match="no bfloat16"):
            make_engine(Compute(precision="bf16"))
        return
    exact = Runner(build, make_engine())(images(4))["default"]
    fast = Runner(build, make_engine(Compute(precision="bf16")))(images(4))["default"]
    assert np.abs(fast - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize(
    "arguments",
    [
        {"engine": "tensorrt"},
        {"engine": "openvino", "precision": "int4"},
        {"engine": "onnxruntime", "precision": "bf16"},
        {"engine": "onnxruntime", "providers": ("NoSuchExecutionProvider",)},
        {"engine": "openvino", "threads": 0},
        {"engine": "openvino", "threads": 1.5},
        {"engine": "openvino", "threads": True},
        {"engine": "onnxruntime", "precision": "int8", "providers": ("CUDAExecutionProvider",)},
        {"engine": "onnxruntime", "providers": ()},
        {"engine": "onnxruntime", "providers": "CPUExecutionProvider"},
    ],
)
def test_an_engine_that_cannot_be_had_is_refused(arguments):
    with pytest.raises(EngineError, match="Received"):
        make_engine(Compute(**arguments))
