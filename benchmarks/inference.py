"""Images a second of one network: this library beside the others, same weights, one run.

    pip install -e '.[onnxruntime]' tensorflow
    python benchmarks/inference.py                       # V2 1.0 at 224, V2 0.35 at 96
    python benchmarks/inference.py --rounds 9 --no-tensorflow

Every contestant gets the same batch of float32 images and returns the same features (checked to
1e-3). They take turns, in another order each round and after a pause, so that a machine that slows
down slows all of them, and nobody runs beside the spinning threads of the one before; medians are
reported, and ratios of medians. Raw OpenVINO is tried in every setting that makes sense
(one big batch, or tiles of 1 to 16 with one stream a core, static and dynamic shapes) and its best
is what counts.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mobilenet_hub as hub
from mobilenet_hub.graph import build_graph
from mobilenet_hub.runtime import available_threads
from mobilenet_hub.runtime.openvino import import_openvino

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
Features = NDArray[np.float32]
Contestant = Callable[[], Features]
PAUSE_SECONDS = 0.3
# handle, depth multiplier for keras.applications, input size, images a call
CASES = (
    ("google/imagenet/mobilenet_v2_100_224/feature_vector/3", 1.0, 224, 128),
    ("google/imagenet/mobilenet_v2_035_96/feature_vector/3", 0.35, 96, 1024),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-tensorflow", action="store_true")
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {available_threads()} cores")
    for handle, multiplier, size, batch in CASES:
        weights = embedded_weights(multiplier)
        pixels = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
        images = pixels.astype(np.float32) / 255
        module = hub.Module(handle, weights=weights)
        contestants: dict[str, Contestant] = {"mobilenet-hub": lambda m=module, x=images: m(x)}
        contestants["mobilenet-hub, uint8 images"] = lambda m=module, x=pixels: m(x)
        contestants |= raw_openvino(weights, images)
        contestants["ONNX Runtime, one batch"] = onnx_runtime(weights, images)
        ort_module = hub.Module(handle, weights=weights, engine="onnxruntime")
        contestants["mobilenet-hub, engine=onnxruntime"] = lambda m=ort_module, x=images: m(x)
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
        error = np.abs(run() - expected).max()
        if not error < 1e-3:
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


def report(handle: str, batch: int, rates: dict[str, float]) -> None:
    ours = rates["mobilenet-hub"]
    raw = {name: rate for name, rate in rates.items() if name.startswith("raw OpenVINO")}
    best = max(raw, key=lambda name: raw[name])
    print(f"\n{handle}, {batch} images a call\n")
    print("| | images/s | mobilenet-hub is |\n|---|---:|---:|")
    for name, rate in sorted(rates.items(), key=lambda item: -item[1]):
        mark = " (its best)" if name == best else ""
        print(f"| {name}{mark} | {rate:,.0f} | {ours / rate:.2f}× |")


def raw_openvino(weights: Any, images: Features) -> dict[str, Contestant]:
    """OpenVINO driven by hand with asynchronous requests that read and write in place."""
    size = images.shape[1]
    model = build_graph(weights, "feature_vector", size=(size, size)).to_bytes()
    threads = available_threads()
    settings = [("static", 0, len(images)), ("dynamic", threads, 4)]
    settings += [("static", threads, tile) for tile in (1, 2, 4, 8, 16)]
    return {
        f"raw OpenVINO, {shapes} shapes, {streams or 'no'} streams, tiles of {tile}": (
            _openvino_run(model, images, weights.network.num_features, shapes, streams, tile)
        )
        for shapes, streams, tile in settings
    }


def _openvino_run(
    model: bytes, images: Features, channels: int, shapes: str, streams: int, tile: int
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
