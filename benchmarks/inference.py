"""Images a second of one network: this library beside the others, same weights, one run.

    pip install -e '.[onnxruntime]' tensorflow
    python benchmarks/inference.py                       # V2 1.0 at 224, V2 0.35 at 96
    python benchmarks/inference.py --rounds 9 --no-tensorflow
    taskset -c 0 python benchmarks/inference.py --no-tensorflow --rounds 5 --batch 32

Every contestant gets the same batch of float32 images and returns the same features: in float32
checked to 1e-3; in bf16 and int8 to a cosine of 0.9, and these have a table of their own. int8 is
calibrated on the batch itself, which decides nothing of its speed. They take turns, in another
order each round and after a pause, so that a machine that slows down slows all of them, and nobody
runs beside the spinning threads of the one before; medians are reported, and ratios of medians. Raw
OpenVINO is tried in every setting that makes sense (one big batch, or tiles of 1 to 32 with one
stream a core, static and dynamic shapes) and its best is what counts.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mobilenet_hub as hub
from mobilenet_hub.conversion.measure import measure
from mobilenet_hub.graph import build_graph
from mobilenet_hub.graph.int8 import QuantizedBuilder
from mobilenet_hub.runtime import available_threads
from mobilenet_hub.runtime.openvino import capabilities, import_openvino
from mobilenet_hub.weights.calibration import Calibration, Photos
from mobilenet_hub.weights.storage.calibrations import keep_calibration

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
Features = NDArray[np.float32]
Contestant = Callable[[], Features]
PAUSE_SECONDS = 0.3
# handle, depth multiplier for keras.applications, input size, images a call
CASES = (
    ("google/imagenet/mobilenet_v2_100_224/feature_vector/3", 1.0, 224, 128),
    ("google/imagenet/mobilenet_v2_140_224/feature_vector/3", 1.4, 224, 64),
    ("google/imagenet/mobilenet_v2_035_96/feature_vector/3", 0.35, 96, 1024),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-tensorflow", action="store_true")
    parser.add_argument("--batch", type=int, help="images a call")
    arguments = parser.parse_args()
    cache = tempfile.TemporaryDirectory()
    os.environ["MOBILENET_HUB_CACHE_DIR"] = cache.name  # where the calibrations are kept
    print(f"{platform.processor() or platform.machine()}, {available_threads()} cores")
    for handle, multiplier, size, usual in CASES:
        batch = arguments.batch or usual
        weights = embedded_weights(multiplier)
        pixels = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
        images = pixels.astype(np.float32) / 255
        calibration = measure(weights, pixels[:32], Photos("noise", 32, ""))
        keep_calibration(calibration)
        module = hub.Module(handle, weights=weights)
        contestants: dict[str, Contestant] = {"mobilenet-hub": lambda m=module, x=images: m(x)}
        contestants["mobilenet-hub, uint8 images"] = lambda m=module, x=pixels: m(x)
        contestants |= raw_openvino(weights, images)
        contestants["ONNX Runtime, one batch"] = onnx_runtime(weights, images)
        ort_module = hub.Module(handle, weights=weights, engine="onnxruntime")
        ort_name = "mobilenet-hub, engine=onnxruntime"
        contestants[ort_name] = lambda m=ort_module, x=images: m(x)
        contestants[f"{ort_name}, uint8 images"] = lambda m=ort_module, x=pixels: m(x)
        for engine, precision in (
            ("openvino", "bf16"), ("openvino", "int8"), ("onnxruntime", "int8"),
        ):  # fmt: skip
            if precision == "bf16" and "BF16" not in capabilities():
                continue
            rounded = hub.Module(handle, weights=weights, engine=engine, precision=precision)
            name = f"mobilenet-hub, {precision}{', engine=onnxruntime' * (engine != 'openvino')}"
            contestants[name] = lambda m=rounded, x=images: m(x)
            contestants[f"{name}, uint8 images"] = lambda m=rounded, x=pixels: m(x)
        contestants |= raw_openvino(weights, pixels, calibration)
        if not arguments.no_tensorflow:
            contestants |= keras_tensorflow(weights, multiplier, images)
        report(handle, batch, take_turns(contestants, arguments.rounds, batch))
        one = {"mobilenet-hub, one image": lambda m=module, x=images[:1]: m(x)}
        milliseconds = 1000 / take_turns(one, 20, 1)["mobilenet-hub, one image"]
        print(f"\none image at a time: {milliseconds:.2f} ms\n")


def embedded_weights(multiplier: float) -> Any:
    """Real weights; the sizes of a network share their shapes, and cost the same at any values."""
    key = f"google/imagenet/mobilenet_v2_{round(multiplier * 100):03d}_224/feature_vector/3"
    return hub.Module(key).weights


def take_turns(contestants: dict[str, Contestant], rounds: int, batch: int) -> dict[str, float]:
    expected = next(iter(contestants.values()))()
    for name, run in contestants.items():
        features = run()
        if is_rounded(name):
            lengths = np.linalg.norm(features, axis=1) * np.linalg.norm(expected, axis=1)
            error = 1 - ((features * expected).sum(1) / lengths).min()
        else:
            error = np.abs(features - expected).max()
        if not error < (0.1 if is_rounded(name) else 1e-3):
            raise SystemExit(f"{name} computes something else: off by {error}")
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants.items())
    for _ in range(rounds):
        random.shuffle(order)  # nobody always follows the same one, whose threads may still spin
        for name, run in order:
            time.sleep(PAUSE_SECONDS)
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: batch / statistics.median(times) for name, times in seconds.items()}


def is_rounded(name: str) -> bool:
    return ", int8" in name or ", bf16" in name


def report(handle: str, batch: int, rates: dict[str, float]) -> None:
    print(f"\n{handle}, {batch} images a call")
    table(
        {name: rate for name, rate in rates.items() if not is_rounded(name)},
        "mobilenet-hub", "raw OpenVINO",
    )  # fmt: skip
    table(
        {name: rate for name, rate in rates.items() if is_rounded(name)},
        "mobilenet-hub, int8, uint8 images", "raw OpenVINO, int8",
    )  # fmt: skip
    print("\n| beside float32 | times as fast |\n|---|---:|")
    for name, rate in rates.items():
        exact = name.replace(", int8", "").replace(", bf16", "")
        if exact != name and exact in rates:
            print(f"| {name} | {rate / rates[exact]:.2f}× |")


def table(rates: dict[str, float], ours: str, raw: str) -> None:
    best = max((name for name in rates if name.startswith(raw)), key=lambda name: rates[name])
    print(f"\n| | images/s | {ours} is |\n|---|---:|---:|")
    for name, rate in sorted(rates.items(), key=lambda item: -item[1]):
        mark = " (its best)" if name == best else ""
        print(f"| {name}{mark} | {rate:,.0f} | {rates[ours] / rate:.2f}× |")


def raw_openvino(
    weights: Any, images: NDArray[Any], calibration: Calibration | None = None
) -> dict[str, Contestant]:
    """OpenVINO driven by hand with asynchronous requests that read and write in place."""
    size = images.shape[1]
    model = build_graph(
        weights, "feature_vector", input_dtype=images.dtype.name, size=(size, size),
        builder=None if calibration is None else QuantizedBuilder(weights, calibration),
    ).to_bytes()  # fmt: skip
    threads = available_threads()
    settings = [("static", 0, len(images)), ("dynamic", threads, 4)]
    settings += [("static", threads, tile) for tile in (1, 2, 4, 8, 16)]
    if calibration is not None:
        settings = [("static", threads, tile) for tile in (1, 2, 4, 8, 16, 32)]
    precision = ", int8" if calibration is not None else ""
    return {
        f"raw OpenVINO{precision}, {shapes} shapes, {streams or 'no'} streams, tiles of {tile}": (
            _openvino_run(model, images, weights.network.num_features, shapes, streams, tile)
        )
        for shapes, streams, tile in settings
    }


def _openvino_run(
    model: bytes, images: NDArray[Any], channels: int, shapes: str, streams: int, tile: int
) -> Contestant:
    ov = import_openvino()

    core = ov.Core()
    graph = core.read_model(model)
    if shapes == "static":
        graph.reshape([tile, *images.shape[1:]])
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    config |= {"NUM_STREAMS": str(streams)} if streams else {"PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(graph, "CPU", config)
    requests = [compiled.create_infer_request() for _ in range(max(1, 2 * streams))]
    output = np.empty((len(images), channels), np.float32)

    def run() -> Features:
        for turn, start in enumerate(range(0, len(images), tile)):
            request = requests[turn % len(requests)]
            request.wait()
            part = slice(start, start + tile)
            request.set_input_tensor(ov.Tensor(images[part], shared_memory=True))
            request.set_output_tensor(ov.Tensor(output[part], shared_memory=True))
            request.start_async()
        for request in requests:
            request.wait()
        return output

    return run


def onnx_runtime(weights: Any, images: Features) -> Contestant:
    import onnxruntime

    size = images.shape[1]
    model = build_graph(weights, "feature_vector", size=(size, size)).to_bytes()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return lambda: session.run(["default"], {"images": images})[0]


def keras_tensorflow(weights: Any, multiplier: float, images: Features) -> dict[str, Contestant]:
    """keras.applications.MobileNetV2 with the same weights: `predict`, and a compiled call."""
    import keras
    import tensorflow as tf

    size = images.shape[1]
    network = keras.applications.MobileNetV2(
        input_shape=(size, size, 3), alpha=multiplier, include_top=False, weights=None,
        pooling="avg",
    )  # fmt: skip
    network.set_weights(_keras_order(network, weights))
    inputs = keras.Input((size, size, 3))
    model = keras.Model(inputs, network(inputs * 2.0 - 1.0))
    call = tf.function(lambda x: model(x, training=False))
    parts = [images[start : start + 64] for start in range(0, len(images), 64)]
    return {
        "Keras on TensorFlow, predict(batch_size=64)": (
            lambda: model.predict(images, batch_size=64, verbose=0)
        ),
        "Keras on TensorFlow, tf.function, batches of 64": (
            lambda: np.concatenate([call(part).numpy() for part in parts])
        ),
    }


def _keras_order(network: Any, weights: Any) -> list[Features]:
    """Canonical tensors in the order of Keras's variables: layer by layer, the same in both."""
    values = []
    for layer in weights.network.convolutions:
        kernel = weights.tensors[layer.weights_name]
        values.append(kernel)
        values += [
            weights.tensors[layer.batch_norm_name(statistic)]
            for statistic in ("gamma", "beta", "moving_mean", "moving_variance")
        ]
    shapes = [tuple(variable.shape) for variable in network.weights]
    if shapes != [value.shape for value in values]:
        raise SystemExit("keras.applications orders its variables in another way")
    return values


if __name__ == "__main__":
    main()
