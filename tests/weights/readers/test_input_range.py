"""What a file does to images is kept, or refused."""

from __future__ import annotations

import numpy as np
import pytest

import tensorflow_files as tff
from mobilenet_hub.errors import WeightsError
from mobilenet_hub.networks import network
from mobilenet_hub.weights.readers import read
from mobilenet_hub.weights.readers.tensorflow.graph_def import read_frozen_graph
from slim_networks import (
    V1,
    assert_equal,
    random_tensors,
    write_graph,
)

PLACEHOLDER = tff.node("x", "Placeholder")


def number(value, name="n"):
    return tff.const(name, np.asarray(value, np.float32))


@pytest.mark.parametrize(
    ("image", "note"),
    [
        ([PLACEHOLDER, tff.node("input", "Identity", ["x"])], "[-1, 1]"),
        (
            [PLACEHOLDER, number(2), number(1, "one"), tff.node("y", "Mul", ["x", "n"]),
             tff.node("input", "Sub", ["y", "one"])],
            "[0, 1]",
        ),
        (
            [PLACEHOLDER, number(127.5), number(1, "one"), tff.node("y", "RealDiv", ["x", "n"]),
             tff.node("input", "Sub", ["y", "one"])],
            "[0, 255]",
        ),
        (
            [PLACEHOLDER, number(1 / 255), number([0.5] * 3, "half"), number(2, "two"),
             tff.node("f", "Cast", ["x"]), tff.node("b", "ExpandDims", ["f", "n"]),
             tff.node("m", "Mul", ["n", "b"]), tff.node("r", "ResizeBilinear", ["m", "n"]),
             tff.node("s", "Sub", ["r", "half"]), tff.node("input", "Mul", ["s", "two"])],
            "[0, 255]",
        ),
    ],
)  # fmt: skip
def test_images_may_be_scaled_in_the_graph_as_the_network_does(tmp_path, image, note):
    tensors = random_tensors(V1)
    nodes = tff.frozen_network(V1, tensors, image=image)
    reading = read_frozen_graph(write_graph(tmp_path, nodes))
    assert_equal(reading.tensors, tensors)
    assert reading.notes == (f"The file takes images in {note}.",)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            [PLACEHOLDER, number(0.5), number(1.5, "s"), tff.node("y", "Sub", ["x", "n"]),
             tff.node("input", "Mul", ["y", "s"])],
            r"1\.5 x -0\.75",
        ),
        ([PLACEHOLDER, number([103.9, 116.8, 123.7]), tff.node("input", "Sub", ["x", "n"])],
         "one number for all channels"),
        ([PLACEHOLDER, number(1), tff.node("input", "Sub", ["n", "x"])], "and one number"),
        ([PLACEHOLDER, number(0), tff.node("input", "Div", ["x", "n"])], "divide by"),
        ([PLACEHOLDER, number(np.nan), tff.node("input", "Mul", ["x", "n"])], "one number"),
        ([PLACEHOLDER, tff.node("input", "Mul", ["x", "x"])], "a number and the image"),
    ],
)  # fmt: skip
def test_images_scaled_otherwise_are_refused(tmp_path, image, message):
    nodes = tff.frozen_network(V1, random_tensors(V1), image=image)
    with pytest.raises(WeightsError, match=message):
        read_frozen_graph(write_graph(tmp_path, nodes))


def test_bytes_scaled_otherwise_are_kept_with_classes_of_ones_own_and_refused_without(tmp_path):
    image = [
        PLACEHOLDER, number(128), number(1 / 128, "s"), tff.node("y", "Sub", ["x", "n"]),
        tff.node("input", "Mul", ["y", "s"]),
    ]  # fmt: skip
    net = network("mobilenet_v1", 0.25, 5)
    path = write_graph(tmp_path, tff.frozen_network(net, random_tensors(net), image=image))
    assert read(path).classifier.input_range == (-1, 127 / 128)
    net = network("mobilenet_v1", 0.25)
    path = write_graph(tmp_path, tff.frozen_network(net, random_tensors(net), image=image))
    with pytest.raises(WeightsError, match=r"expected \[-1, 1\]. Received: \[-1, 0.992188\]"):
        read(path)
