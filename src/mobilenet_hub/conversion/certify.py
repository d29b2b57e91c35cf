"""How far int8 is from float32 on photos that did not calibrate it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.catalog import Task
from mobilenet_hub.conversion.adapt import in_batches
from mobilenet_hub.conversion.measure import measure
from mobilenet_hub.graph import build_graph
from mobilenet_hub.graph.int8 import QuantizedBuilder
from mobilenet_hub.graph.onnx_format import Graph, Port
from mobilenet_hub.pipeline.outputs import l2_normalized
from mobilenet_hub.pipeline.progress import NO_PROGRESS, Progress
from mobilenet_hub.runtime import GraphSpec, Runner, make_engine
from mobilenet_hub.runtime.contracts import Images
from mobilenet_hub.runtime.cpu import instruction_set
from mobilenet_hub.settings import Compute, EngineName, Precision
from mobilenet_hub.weights.calibration import Calibration, Certificate, Photos
from mobilenet_hub.weights.canonical import Weights

Floats = NDArray[np.float32]
_NEIGHBOURS = 10
_LEAST_FOR_RECALL = 2 * _NEIGHBOURS  # photos: of fewer, nearly all are the nearest in any precision


def certify(
    weights: Weights,
    pixels: Images,
    photos: Photos,
    *,
    calibration: Calibration | None = None,
    float_layers: int = 0,
    classes: Sequence[int] | None = None,
    engine: EngineName = "openvino",
    progress: Progress = NO_PROGRESS,
) -> Certificate:
    """Compare int8 with float32.

    Args:
        weights: of the network.
        pixels: of photos, as the network takes them: [photos, height, width, 3], at least 22.
        photos: what they are of.
        calibration: made from other photos. By default each half of these, every other one, is
            measured with a calibration on the other half, `float_layers` of which are in float32.
        float_layers: see `measure`.
        classes: the index of each photo's class, where the weights classify and it is known.
        engine: what computes.
        progress: told how many layers are done of the calibrations made here.
    """
    halves = [slice(None)] if calibration else [slice(0, None, 2), slice(1, None, 2)]
    comparisons = []
    for number, half in enumerate(halves):
        its = calibration or measure(
            weights, pixels[halves[1 - number]], photos, float_layers=float_layers,
            progress=progress, step=f"layers, half {number + 1} of the photos",
        )  # fmt: skip
        truth = None if classes is None else np.asarray(classes)[half]
        comparisons.append(_compare(weights, its, pixels[half], truth, engine))
    cosines = np.concatenate([comparison.cosines for comparison in comparisons])
    recalls = np.concatenate([comparison.recalls for comparison in comparisons])
    fewest = min(len(comparison.recalls) for comparison in comparisons)
    same = [comparison.same for comparison in comparisons if comparison.same is not None]
    rights = [comparison.right for comparison in comparisons if comparison.right is not None]
    loss, interval = _loss(np.concatenate(rights)) if rights else (None, None)
    return Certificate(
        photos=photos,
        engine=_version(engine),
        instruction_set=instruction_set(),
        cosine=float(cosines.mean()),
        least_cosine=float(cosines.min()),
        recall=float(recalls.mean()) if fewest >= _LEAST_FOR_RECALL else None,
        agreement=float(np.concatenate(same).mean()) if same else None,
        top1_loss=loss,
        top1_interval=interval,
    )


@dataclass(frozen=True, slots=True)
class _Comparison:
    """How int8 did, photo by photo.

    Attributes:
        cosines: of the feature vectors of both precisions.
        recalls: share of the nearest photos that both find.
        same: whether the most likely class is; None without logits.
        right: whether that class is right in float32 and in int8: [photos, 2].
    """

    cosines: Floats
    recalls: Floats
    same: NDArray[np.bool_] | None
    right: NDArray[np.bool_] | None


def _compare(
    weights: Weights,
    calibration: Calibration,
    pixels: Images,
    classes: NDArray[np.int64] | None,
    engine: EngineName,
) -> _Comparison:
    exact, exact_logits = _compute(weights, None, pixels, engine)
    rounded, rounded_logits = _compute(weights, calibration, pixels, engine)
    cosines = (exact * rounded).sum(1)
    near = [_nearest(features) for features in (exact, rounded)]
    shared = (near[0][:, :, None] == near[1][:, None, :]).any(2).mean(1, dtype=np.float32)
    if exact_logits is None or rounded_logits is None:
        return _Comparison(cosines, shared, None, None)
    best = np.stack([exact_logits.argmax(1), rounded_logits.argmax(1)], 1)
    right = None if classes is None else best == classes[:, None]
    return _Comparison(cosines, shared, best[:, 0] == best[:, 1], right)


def _compute(
    weights: Weights, calibration: Calibration | None, pixels: Images, engine: EngineName
) -> tuple[Floats, Floats | None]:
    """Features of unit length; logits, where there are any."""
    task: Task = "classification" if weights.has_logits else "feature_vector"

    def build(spec: GraphSpec) -> Graph:
        graph = build_graph(
            weights, task, input_dtype=spec.input_dtype, size=(spec.height, spec.width),
            builder=None if calibration is None else QuantizedBuilder(weights, calibration),
        )  # fmt: skip
        if weights.has_logits:
            graph.outputs.append(Port("features", ("batch", weights.network.num_features)))
        return graph

    precision: Precision = "float32" if calibration is None else "int8"
    runner = Runner(build, make_engine(Compute(engine, precision)))
    batches = [*in_batches(runner, pixels)]
    default = np.concatenate([batch["default"] for batch in batches])
    if not weights.has_logits:
        return l2_normalized(default), None
    return l2_normalized(np.concatenate([batch["features"] for batch in batches])), default


def _nearest(features: Floats) -> NDArray[np.intp]:
    """Of each row the rows of greatest cosine but itself: [rows, 10], or fewer."""
    similarity = features @ features.T
    np.fill_diagonal(similarity, -np.inf)
    return np.argsort(-similarity, axis=1, kind="stable")[:, : min(_NEIGHBOURS, len(features) - 1)]


def _loss(right: NDArray[np.bool_]) -> tuple[float, tuple[float, float]]:
    """Top-1 accuracy in float32 less that in int8, of the same photos, and its 95 % interval.

    Agresti and Min, "Simple improved confidence intervals for comparing matched proportions",
    Statistics in Medicine 24 (2005): half a photo is added to each of the four kinds.
    """
    count = len(right)
    lost, won = ((right[:, a] & ~right[:, 1 - a]).sum() for a in (0, 1))
    b, c, n = lost + 0.5, won + 0.5, count + 2
    middle, spread = (b - c) / n, 1.96 * sqrt(b + c - (b - c) ** 2 / n) / n
    return float((lost - won) / count), (float(middle - spread), float(middle + spread))


def _version(engine: EngineName) -> str:
    from importlib.metadata import version

    return f"{engine} {version(engine)}"
