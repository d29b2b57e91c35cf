"""Golden outputs: what the original networks gave for four images, in TensorFlow 2.15.

They travel in the package (`data/golden.safetensors`, made by `scripts/golden_outputs.py`) and
belong to weights by the sha256 of their tensors: of all other weights nobody knows what is right.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.safetensors_format import parse_safetensors
from mobilenet_hub.weights.storage.pins import tensor_digests

Float32 = NDArray[np.float32]
SIZE = 224  # height and width of the golden images
_FILE = "data/golden.safetensors"


@dataclass(frozen=True, slots=True)
class Golden:
    """What the original network gave with some weights, for `golden_images`.

    Attributes:
        name: of the network.
        features: float32 [4, num_features].
        logits: float32 [4, num_classes]; None where they are not known for these weights.
    """

    name: str
    features: Float32
    logits: Float32 | None


def golden_images() -> Float32:
    """The images: float32 [4, 224, 224, 3] in [0, 1), noise from NumPy's frozen generator."""
    return np.random.RandomState(0).rand(4, SIZE, SIZE, 3).astype(np.float32)


def golden_of(weights: Weights) -> Golden | None:
    """The golden outputs of weights; None if there are none.

    Those of the features hold for whatever classifier stands on them.
    """
    features, logits = tensor_digests(weights)
    tensors, known = _read()
    for name, (features_sha256, logits_sha256) in known.items():
        if features == features_sha256:
            same = logits == logits_sha256 and f"{name}/logits" in tensors
            return Golden(
                name, tensors[f"{name}/features"], tensors[f"{name}/logits"] if same else None
            )
    return None


@cache
def _read() -> tuple[dict[str, NDArray[Any]], dict[str, tuple[str, str]]]:
    """The arrays, and of each network the sha256 of the weights' feature and logits tensors."""
    data = files("mobilenet_hub").joinpath(_FILE).read_bytes()
    tensors, metadata = parse_safetensors(data, _FILE)
    weights = json.loads(metadata["golden"])["weights"]
    return tensors, {name: (of["features"], of["logits"]) for name, of in weights.items()}
