"""A network and its weights as one ONNX graph, batch norm folded into the convolutions.

The graph takes images as people have them (NHWC, uint8 in [0,255] or float32 in [0,1]), scales them
to the network's input range itself (`2x − 1` for the published ones), and runs the convolutions in
ONNX's NCHW. Padding is ONNX's `SAME_UPPER`, which is TensorFlow's SAME for every input size. With a
calibration the convolutions are in int8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mobilenet_hub.catalog import Task
from mobilenet_hub.errors import OutputError
from mobilenet_hub.graph.float32 import (
    DEFAULT_OUTPUT,
    INPUT,
    Builder,
    InputDType,
    fold_batch_norm,
)
from mobilenet_hub.graph.onnx_format import Graph, Port
from mobilenet_hub.weights.canonical import Weights

if TYPE_CHECKING:
    from mobilenet_hub.weights.calibration import Calibration

__all__ = ["DEFAULT_OUTPUT", "INPUT", "InputDType", "build_graph", "fold_batch_norm"]


def build_graph(
    weights: Weights,
    task: Task,
    *,
    endpoints: Sequence[str] = (),
    input_dtype: InputDType = "float32",
    size: tuple[int, int] | None = None,
    calibration: Calibration | None = None,
) -> Graph:
    """The inference graph of a network.

    Args:
        weights: of the network; must include logits for `classification`.
        task: what the output `default` is: `feature_vector` (float32 [batch, num_features]) or
            `classification` (float32 [batch, num_classes] logits).
        endpoints: further outputs, by their prefixed names (`MobilenetV2/layer_18/output`):
            float32 [batch, height, width, channels].
        input_dtype: of the input `images` [batch, height, width, 3]: uint8 in [0,255], or float32
            in [0,1].
        size: height and width of the input; None leaves both dynamic. The batch always is.
        calibration: of these weights; with it, the convolutions are in int8.

    Raises:
        OutputError: an endpoint the network does not have, or logits without their weights.
    """
    if task == "classification" and not weights.has_logits:
        raise OutputError(
            "classification needs weights with logits; these end at the feature vector. "
            f"Received: {weights.metadata.get('source', 'weights')}"
        )
    net = weights.network
    channels = net.num_features if task == "feature_vector" else net.num_classes
    height, width = size if size is not None else ("height", "width")
    graph = Graph(
        f"{net.scope}_{net.depth_multiplier}_{task}",
        inputs=[Port(INPUT, ("batch", height, width, 3), input_dtype)],
        outputs=[Port(DEFAULT_OUTPUT, ("batch", channels))],
    )
    if calibration is None:
        builder: Builder = Builder(weights, graph)
    else:
        from mobilenet_hub.graph.int8 import QuantizedBuilder

        builder = QuantizedBuilder(weights, graph, calibration)
    builder.add_input_scaling(input_dtype)
    value = "scaled"
    for layer in net.convolutions:
        value = builder.add_convolution(layer, value)
    builder.add_head(value, task)
    for name in endpoints:
        builder.add_endpoint(name)
    return graph
