"""What int8 costs in accuracy.

    python benchmarks/int8.py ../shared          # and beside NNCF, where that is installed

V2 1.4 and 1.0 at 224, calibrated on every other one of the 100 photos and compared with float32 on
those between, in exact arithmetic (ONNX Runtime, nothing fused) and as the engines compute here.
Then regressions on features of V2 1.0, of bees and ants and of groceries: learned on `train` in
each precision, accuracy on `val` in the same.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mobilenet_hub as hub
from mobilenet_hub.conversion.calibrate import read_photos
from mobilenet_hub.conversion.measure import measure
from mobilenet_hub.graph import build_graph
from mobilenet_hub.graph.int8 import QuantizedBuilder
from mobilenet_hub.graph.onnx_format import Graph
from mobilenet_hub.pipeline.outputs import l2_normalized
from mobilenet_hub.pipeline.sources.resolve import open_sources
from mobilenet_hub.retraining.head import Regression, principal_axes
from mobilenet_hub.runtime import Runner, make_engine
from mobilenet_hub.runtime.openvino import import_openvino
from mobilenet_hub.settings import Compute, PreprocessingSettings
from mobilenet_hub.weights.calibration import Calibration, Photos
from mobilenet_hub.weights.canonical import Weights

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
SETS = {"bees and ants": "transfer/hymenoptera", "groceries, 81 classes": "transfer/grocery"}
NETWORKS = {
    "V2 1.4": "google/imagenet/mobilenet_v2_140_224/classification",
    "V2 1.0": "google/imagenet/mobilenet_v2_100_224/feature_vector",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--only", choices=["features", "heads"])
    arguments = parser.parse_args()
    if arguments.only != "heads":
        source = open_sources(arguments.shared / "photos")
        with read_photos(source, PreprocessingSettings(224, 224)) as read:
            pixels = np.array(read.pixels)
        for name, handle in NETWORKS.items():
            print(f"\n{name}\n\n| | mean cosine | least | same top-1 |\n|---|---:|---:|---:|")
            compare(hub.Module(handle).weights, pixels[::2], pixels[1::2])
    if arguments.only != "features":
        print("\n| V2 1.0, on `val` | float32 | int8 |\n|---|---:|---:|")
        for name, folder in SETS.items():
            exact, rounded = accuracies(arguments.shared / folder)
            print(f"| {name} | {exact} | {rounded} |", flush=True)


def compare(weights: Weights, calibrating: Pixels, others: Pixels) -> None:
    exact = run(graph(weights), others, "openvino")

    def row(name: str, features: Floats) -> None:
        cosines = (l2_normalized(exact) * l2_normalized(features)).sum(1)
        same = ""
        if weights.has_logits:
            same = f"{100 * (top_1(weights, exact) == top_1(weights, features)).mean():.0f} %"
        print(f"| {name} | {cosines.mean():.4f} | {cosines.min():.4f} | {same} |", flush=True)

    ours = measure(weights, calibrating, Photos("", len(calibrating), ""))
    without = {scope: np.zeros_like(values) for scope, values in ours.corrections.items()}
    row("ours", exactly(graph(weights, ours), others))
    row(
        "ours without corrections",
        exactly(graph(weights, replace(ours, corrections=without)), others),
    )
    for engine in ("openvino", "onnxruntime"):
        row(f"ours, {engine} here", run(graph(weights, ours), others, engine))
    if find_spec("nncf") is not None:
        model = by_nncf(graph(weights), calibrating)
        row("NNCF", by_openvino(model, others, LP_TRANSFORMS_MODE="NO"))
        row("NNCF, openvino here", by_openvino(model, others))


def graph(weights: Weights, calibration: Calibration | None = None) -> Graph:
    return build_graph(
        weights,
        "feature_vector",
        input_dtype="uint8",
        size=(224, 224),
        builder=None if calibration is None else QuantizedBuilder(weights, calibration),
    )


def top_1(weights: Weights, features: Floats) -> NDArray[np.intp]:
    logits = weights.network.logits
    kernel = weights.tensors[logits.weights_name].reshape(logits.in_channels, -1)
    return (features @ kernel + weights.tensors[f"{logits.scope}/biases"]).argmax(1)


def run(model: Graph, images: Pixels, engine: Any) -> Floats:
    runner = Runner(lambda spec: model, make_engine(Compute(engine)))
    return runner(images, throughput=True)["default"]


def exactly(model: Graph, images: Pixels) -> Floats:
    """In float32 between the roundings: what integers give that nothing overflows."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.to_bytes(), options, providers=providers)
    parts = [images[start : start + 10] for start in range(0, len(images), 10)]
    return np.concatenate([session.run(["default"], {"images": part})[0] for part in parts])


def by_nncf(model: Graph, images: Pixels) -> Any:
    """Quantized by NNCF with its fast bias correction."""
    import nncf

    read = import_openvino().Core().read_model(model.to_bytes(batch=1))
    return nncf.quantize(read, nncf.Dataset([image[None] for image in images]))


def by_openvino(model: Any, images: Pixels, **options: str) -> Floats:
    compiled = import_openvino().Core().compile_model(model, "CPU", options)
    return np.concatenate([compiled(image[None])[0] for image in images])


def accuracies(folder: Path) -> list[str]:
    """Of a regression in float32 and in int8, of the strength that is best for float32."""
    features = {precision: embedded(folder, precision) for precision in ("float32", "int8")}
    ids = sorted(features["float32"])
    classes = sorted({Path(id).parent.name for id in ids})
    targets = np.array([classes.index(Path(id).parent.name) for id in ids])
    train = np.array([Path(id).parts[-3] == "train" for id in ids])
    found = {}
    for precision, by_id in features.items():
        values = np.stack([by_id[id] for id in ids])
        axes = principal_axes(values, np.flatnonzero(train))
        regression = Regression(values, axes, targets, len(classes), np.where(train, 0, -1))
        for strength in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1):
            head = regression.head(regression.fit(strength))
            right = head.logits(values[~train]).argmax(1) == targets[~train]
            found[precision, strength] = float(right.mean())
    best = max((s for p, s in found if p == "float32"), key=lambda s: found["float32", s])
    return [f"{100 * found[precision, best]:.1f} %" for precision in features]


def embedded(folder: Path, precision: Any) -> dict[str, Floats]:
    module = hub.Module(NETWORKS["V2 1.0"], precision=precision)
    records = hub.embed([str(folder / side) for side in ("train", "val")], module)
    return {record.id: record.embedding for record in records if record.ok}


if __name__ == "__main__":
    main()
