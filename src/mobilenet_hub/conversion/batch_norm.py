"""Statistics for networks that came without: a folded network made fit to be trained further.

Frozen graphs and TFLite files hold convolutions with batch norm folded into them. That is exact for
inference, but nothing is left of the means and variances that training needs. They are measured
here: over photos like those the network will see, on the values that each convolution has before
its batch norm. What the network computes in inference stays the same (see `weights.unfold`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import ImageError, ItemError, WeightsError
from mobilenet_hub.graph import build_graph
from mobilenet_hub.graph.onnx_format import Attribute, Graph, Node, Port
from mobilenet_hub.images import MAX_PIXELS, Preprocessing
from mobilenet_hub.images.limits import max_bytes
from mobilenet_hub.networks import Layer
from mobilenet_hub.pipeline.sources.resolve import open_sources
from mobilenet_hub.pipeline.sources.source import SourceLike
from mobilenet_hub.runtime import GraphSpec, Runner, make_engine
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.unfold import folded_layers, unfold

MIN_PHOTOS = 10
_BATCH = 16

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MeasuredBatchNorm:
    """Weights with measured statistics.

    Attributes:
        weights: unfolded; their metadata says so.
        photos: how many photos were used.
        failures: path and reason of those that could not be read.
    """

    weights: Weights
    photos: int
    failures: tuple[tuple[str, str], ...]


def measure_batch_norm(
    weights: Weights,
    photos: SourceLike,
    *,
    image_size: int,
    progress: Callable[[int], None] | None = None,
) -> MeasuredBatchNorm:
    """Measure the statistics of a folded network's layers on photos.

    They are preprocessed as TF-Slim evaluates: the central 87.5 %, squashed, bilinear.

    Args:
        weights: of a network of which some layers, or all, are folded.
        photos: a folder, or whatever else holds images; a hundred varied ones are enough.
        image_size: height and width that the network was trained for, in pixels.
        progress: is called with the number of photos so far.

    Raises:
        WeightsError: nothing is folded, or fewer than ten photos can be read.
        SourceError: the folder is not there.
    """
    layers = folded_layers(weights)
    if not layers:
        raise WeightsError(
            f"{weights.metadata.get('source', 'these weights')} has its batch norm: there is "
            f"nothing to measure. Import it without --batch-norm-photos. Received: no folded layer"
        )
    names = tuple(layer.scope for layer in layers)
    runner = Runner(lambda spec: _statistics_graph(weights, layers, spec), make_engine())
    moments = {scope: _Moments() for scope in names}
    failures: list[tuple[str, str]] = []
    count = 0
    for batch in _batches(photos, image_size, failures):
        outputs = runner(batch, _output_names(names), throughput=True)
        for scope in names:
            moments[scope].add(outputs[f"{scope}/mean"], outputs[f"{scope}/variance"])
        count += len(batch)
        if progress is not None:
            progress(count)
    if count < MIN_PHOTOS:
        reasons = "".join(f"; {path}: {reason}" for path, reason in failures[:3])
        raise WeightsError(
            f"Batch norm's statistics need at least {MIN_PHOTOS} photos, better 100 varied ones. "
            f"Received: {count} that can be read{reasons}"
        )
    biases = {scope: weights.tensors[f"{scope}/BatchNorm/beta"] for scope in names}
    scales = {scope: weights.tensors[f"{scope}/BatchNorm/gamma"] for scope in names}
    measured = {scope: moments[scope].of_input(scales[scope], biases[scope]) for scope in names}
    metadata = {
        **weights.metadata,
        "batch_norm": "unfolded",
        "batch_norm_statistics": f"means and variances of {len(names)} folded layers measured "
        f"on {count} photos at {image_size} px; inference is unchanged",
    }
    tensors = unfold(weights.tensors, measured)
    return MeasuredBatchNorm(Weights(weights.network, tensors, metadata), count, tuple(failures))


@dataclass(slots=True)
class _Moments:
    """Mean and variance over all images, put together from those of each (all have one size)."""

    means: list[Float64] = field(default_factory=list)
    variances: list[Float64] = field(default_factory=list)

    def add(self, means: NDArray[np.float32], variances: NDArray[np.float32]) -> None:
        """Those of a batch: [batch, channels]."""
        self.means.append(means.astype(np.float64))
        self.variances.append(variances.astype(np.float64))

    def of_input(
        self, scale: NDArray[np.float32], bias: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and variance of x, where those that were added are of `scale x + bias`."""
        means, variances = np.concatenate(self.means), np.concatenate(self.variances)
        mean, variance = means.mean(axis=0), variances.mean(axis=0) + means.var(axis=0)
        # A channel that folding scaled by 0 is constant, and nothing is known of its x.
        factor = np.where(scale == 0, 1.0, scale.astype(np.float64))
        mean = np.where(scale == 0, 0.0, (mean - bias) / factor)
        variance = np.where(scale == 0, 1.0, variance / factor**2)
        return mean.astype(np.float32), variance.astype(np.float32)


def _batches(
    photos: SourceLike, size: int, failures: list[tuple[str, str]]
) -> Iterator[NDArray[np.float32]]:
    preprocessing = Preprocessing(size, size, "slim", "tf1")
    limit, batch = max_bytes(MAX_PIXELS), []
    for item in open_sources(photos).items():
        try:
            data, _ = item.read(limit)
            batch.append(preprocessing(data, path=item.path))
        except (ImageError, ItemError, OSError) as error:
            failures.append((item.path, str(error)))
            continue
        if len(batch) == _BATCH:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def _output_names(scopes: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{scope}/{what}" for scope in scopes for what in ("mean", "variance"))


def _statistics_graph(weights: Weights, layers: Sequence[Layer], spec: GraphSpec) -> Graph:
    """The network's graph with each image's mean and variance of the given layers as outputs."""
    graph = build_graph(
        weights,
        "feature_vector",
        input_dtype=spec.input_dtype,
        size=(spec.height, spec.width),
    )
    for layer in layers:
        _add_statistics(graph, layer)
    return graph


def _add_statistics(graph: Graph, layer: Layer) -> None:
    def node(kind: str, inputs: list[str], output: str, **attributes: Attribute) -> str:
        graph.nodes.append(Node(kind, inputs, output, attributes))
        return output

    scope = layer.scope
    value = f"{scope}/conv"  # see `graph`: the convolution with its bias, nothing after it
    over_pixels = {"axes": [2, 3]}
    mean = node("ReduceMean", [value], f"{scope}/mean4", keepdims=1, **over_pixels)
    centred = node("Sub", [value, mean], f"{scope}/centred")
    square = node("Mul", [centred, centred], f"{scope}/square")
    outputs = (
        node("ReduceMean", [value], f"{scope}/mean", keepdims=0, **over_pixels),
        node("ReduceMean", [square], f"{scope}/variance", keepdims=0, **over_pixels),
    )
    for name in outputs:
        graph.outputs.append(Port(name, ("batch", layer.out_channels)))
