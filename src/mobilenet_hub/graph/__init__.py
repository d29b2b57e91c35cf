"""A network and its weights as one ONNX graph, batch norm folded into the convolutions.

The graph takes images as people have them (NHWC, uint8 in [0,255] or float32 in [0,1]), scales them
to the network's input range itself (`2x − 1` for the published ones), and runs the convolutions in
ONNX's NCHW. Padding is ONNX's `SAME_UPPER`, which is TensorFlow's SAME for every input size. With
the builder of `int8` the convolutions are in int8.
"""

from __future__ import annotations

from mobilenet_hub.graph.float32 import (
    DEFAULT_OUTPUT,
    INPUT,
    InputDType,
    build_graph,
    fold_batch_norm,
)

__all__ = ["DEFAULT_OUTPUT", "INPUT", "InputDType", "build_graph", "fold_batch_norm"]
