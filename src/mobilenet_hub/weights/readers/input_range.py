"""What a file does to the image before the first convolution: `scale * image + shift`.

The published networks take images in [-1, 1]. A file may bring them there itself, or to somewhere
else: then a classifier keeps the values that black and white have there.
"""

from __future__ import annotations

import numpy as np

from mobilenet_hub.networks import INPUT_RANGE
from mobilenet_hub.weights.readers.dataflow import Dataflow, Node

# What is [-1, 1] in the end, as scale and shift of what the file takes.
KNOWN = {
    (1.0, 0.0): "The file takes images in [-1, 1].",
    (2.0, -1.0): "The file takes images in [0, 1].",
    (2 / 255, -1.0): "The file takes images in [0, 255].",
}
ARITHMETIC = ("add", "sub", "mul", "div")
MAX_OPERATIONS = 20
WHOLE = 1e-6
MAX_SCALE_OF_BYTES = 0.1  # a smaller one is meant for values up to 255


def input_range(
    graph: Dataflow,
    value: str,
    scale: float = 1.0,
    shift: float = 0.0,
    *,
    image: str | None = None,
) -> tuple[tuple[float, float], str]:
    """The values that black and white pixels have for the first convolution, and a sentence.

    Args:
        graph: with the network in it.
        value: what the network takes there.
        scale: what the network multiplies it with itself.
        shift: what it adds then.
        image: what the file takes, where only arithmetic may lie before the network; None where
            anything may, such as decoding.

    Raises:
        WeightsError: something else is done to images than one scale and shift for all channels.
    """
    for _ in range(MAX_OPERATIONS):
        node = graph.nodes.get(value)
        if node is None or node.kind not in (*ARITHMETIC, "resize") or not node.inputs:
            break
        if node.kind == "resize":  # commutes with the rest
            value = graph.inputs(node)[0]
            continue
        value, number = _image_and_number(graph, node)
        if node.kind == "mul":
            scale *= number
        elif node.kind == "div":
            scale /= number
        else:
            shift += scale * (number if node.kind == "add" else -number)
    if image is not None and value != image:
        raise graph.refusal("no more than a scale and a shift of the image", graph.kind(value))
    for expected, note in KNOWN.items():
        if np.allclose((scale, shift), expected, rtol=1e-5, atol=1e-6):
            return INPUT_RANGE, note
    if not 0 < scale < MAX_SCALE_OF_BYTES:
        raise graph.refusal(
            "images brought to [-1, 1] by x, 2 x - 1 or x / 127.5 - 1, or bytes scaled otherwise",
            f"{scale:.6g} x {shift:+.6g}",
        )
    low, high = _whole(shift), _whole(255 * scale + shift)
    return (low, high), f"The file brings images in [0, 255] to [{low:.6g}, {high:.6g}]."


def _whole(value: float) -> float:
    """A whole number where float32 arithmetic may have missed one."""
    return float(round(value)) if abs(value - round(value)) < WHOLE else value


def _image_and_number(graph: Dataflow, node: Node) -> tuple[str, float]:
    """The image, and the number that is added to it or that it is multiplied with."""
    inputs = graph.inputs(node)
    numbers = [value for value in inputs if value in graph.constants]
    if len(inputs) != 2 or len(numbers) != 1:
        raise graph.refusal(f"a number and the image in {node.output}", node.inputs[:10])
    image = inputs[inputs.index(numbers[0]) - 1]
    shape = graph.constants[numbers[0]].shape
    if (node.kind in ("sub", "div") and image != inputs[0]) or max(shape, default=1) > 3:
        raise graph.refusal(f"the image and one number in {node.output}", node.inputs)
    values = graph.load(numbers[0]).reshape(-1)
    if not values.size or not np.isfinite(values).all() or (values != values[0]).any():
        raise graph.refusal(f"one number for all channels in {node.output}", values.tolist())
    if node.kind == "div" and values[0] == 0:
        raise graph.refusal(f"a number to divide by in {node.output}", 0)
    return image, float(values[0])
