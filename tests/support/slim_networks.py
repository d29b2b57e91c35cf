"""Networks of kilobytes with random weights, under TF-Slim's names."""

from __future__ import annotations

import numpy as np

import tensorflow_files as tff
from mobilenet_hub.networks import network
from mobilenet_hub.weights.readers.base import folded_batch_norm

VARIABLE_SETS = [
    *(("mobilenet_v2", multiplier) for multiplier in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)),
    *(("mobilenet_v1", multiplier) for multiplier in (0.25, 0.5, 0.75, 1.0)),
]
V1, V2 = network("mobilenet_v1", 0.01, 5), network("mobilenet_v2", 0.01, 5)
EMA = "/ExponentialMovingAverage"


def random_tensors(net, seed=0, *, logits=True):
    """Values of either sign, but for variances."""
    rng = np.random.default_rng(seed)
    shapes = net.variables(logits=logits)
    tensors = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    return {
        name: np.abs(array) if name.endswith("variance") else array
        for name, array in tensors.items()
    }


def folded_tensors(net, *, scale=False):
    """Tensors whose batch norm is only a bias (and a scale), as the readers represent it."""
    tensors = random_tensors(net)
    for layer in net.convolutions:
        gamma, beta = (tensors[layer.batch_norm_name(name)] for name in ("gamma", "beta"))
        for name, array in folded_batch_norm(beta, gamma if scale else None).items():
            tensors[layer.batch_norm_name(name)] = array
    return tensors


def assert_equal(tensors, expected):
    assert sorted(tensors) == sorted(expected)
    for name, array in expected.items():
        assert tensors[name].dtype == np.float32, name
        assert tensors[name].shape == array.shape, name
        assert tensors[name].tobytes() == np.asarray(array, np.float32).tobytes(), name


def write_graph(tmp_path, nodes):
    path = tmp_path / "frozen.pb"
    path.write_bytes(tff.graph_def(nodes))
    return path
