"""Rebuild the golden outputs inside the package from the reference material beside a checkout.

    python scripts/golden_outputs.py ../shared            # write data/golden.safetensors
    python scripts/golden_outputs.py ../shared --check    # only compare

The outputs are those of the original TF-Slim networks in TensorFlow 2.15, with real weights, for
`numpy.random.RandomState(0).rand(4, 224, 224, 3)`. Where the weights were an earlier training's,
whose head has 1,000 classes (V1 0.25), the logits are its features times its kernel, in float64.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from mobilenet_hub.catalog import find
from mobilenet_hub.files import write_atomically
from mobilenet_hub.weights import from_tensors
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.storage.pins import tensor_digests
from mobilenet_hub.weights.storage.store import load_weights

GOLDEN = Path(__file__).parents[1] / "src" / "mobilenet_hub" / "data" / "golden.safetensors"
BUNDLED = {
    "mobilenet_v2_140_224": "classification",
    "mobilenet_v2_100_224": "feature_vector",
    "mobilenet_v2_035_224": "feature_vector",
    "mobilenet_v1_025_224": "classification",
}
ABOUT = (
    "Outputs of Google's MobileNet networks (TF-Slim, Apache-2.0) in TensorFlow 2.15 for the "
    "images numpy.random.RandomState(0).rand(4, 224, 224, 3), in float32."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    data = golden(arguments.shared)
    if not arguments.check:
        write_atomically(GOLDEN, data)
    elif data != GOLDEN.read_bytes():
        sys.exit(f"{GOLDEN} differs")


def golden(shared: Path) -> bytes:
    """The file."""
    reference = np.load(shared / "oracle" / "real_weights_reference.npz")
    weights = {
        name: load_weights(find(f"google/imagenet/{name}/{task}")) for name, task in BUNDLED.items()
    }
    arrays = dict(np.load(shared / "weights" / "mobilenet_v1_1.0_224.npz"))
    weights["mobilenet_v1_100_224"] = from_tensors(arrays)
    tensors, digests = {}, {}
    for name, of in weights.items():
        tensors[f"{name}/features"] = reference[f"{name}/features"]
        if of.has_logits:
            known = reference.get(f"{name}/logits")
            logits = _logits(of, reference[f"{name}/features"]) if known is None else known
            tensors[f"{name}/logits"] = logits
        digests[name] = dict(zip(("features", "logits"), tensor_digests(of), strict=True))
    # One key: safetensors does not keep the order of several.
    metadata = json.dumps({"about": ABOUT, "weights": digests}, sort_keys=True)
    return save(tensors, {"golden": metadata})


def _logits(weights: Weights, features: np.ndarray) -> np.ndarray:
    scope = weights.network.logits.scope
    kernel = weights.tensors[weights.network.logits.weights_name].astype(np.float64)
    biases = weights.tensors[f"{scope}/biases"].astype(np.float64)
    return (features @ kernel.reshape(features.shape[1], -1) + biases).astype(np.float32)


if __name__ == "__main__":
    main()
