"""Writes keras.applications' MobileNets in every format of the Keras that runs it.

    python keras_applications.py FOLDER [only the first so many]

It runs in an environment of its own, with Keras 2.15 or Keras 3, and knows nothing of this library.
Weights are random numbers of a seed; statistics are none of a fresh network's. Each model's arrays,
in the order of its layers, are beside its files, in NAME.npz.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np

# The least and the greatest network of each family, one of them with its top; then all others.
FIRST = [("v1", 0.25, True), ("v1", 1.0, False), ("v2", 0.35, False), ("v2", 1.4, True)]
NETWORKS = [("v1", alpha) for alpha in (0.25, 0.5, 0.75, 1.0)]
NETWORKS += [("v2", alpha) for alpha in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)]
MODELS = [(*network, top) for network in NETWORKS for top in (True, False)]
MODELS = FIRST + [model for model in MODELS if model not in FIRST]
SIZE = 128


def build(family, alpha, top):
    applications = keras.applications
    make = applications.MobileNet if family == "v1" else applications.MobileNetV2
    model = make(input_shape=(SIZE, SIZE, 3), alpha=alpha, weights=None, include_top=top)
    generator = np.random.default_rng(round(alpha * 100) + top)
    arrays = []
    for array in model.get_weights():
        low, high = (0.5, 1.5) if array.ndim == 1 else (-0.1, 0.1)
        arrays.append(generator.uniform(low, high, array.shape).astype("float32"))
    model.set_weights(arrays)
    return model


def write(model, path, traces):
    """Every format there is, each beside the others."""
    np.savez(f"{path}.npz", *model.get_weights())
    model.save(f"{path}.keras")
    model.save(f"{path}.h5")
    model.save_weights(f"{path}.weights.h5")
    if keras.__version__.startswith("2."):
        # Most of the time goes into tracing functions, which readers of variables do not look at.
        model.save(f"{path}.savedmodel", save_format="tf", save_traces=traces)
        model.save_weights(f"{path}.tf", save_format="tf")
        model.save_weights(f"{path}.legacy.h5", save_format="h5")
    else:
        model.export(f"{path}.export", verbose=False)


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    for family, alpha, top in MODELS[: int(sys.argv[2]) if len(sys.argv) > 2 else None]:
        keras.backend.clear_session()
        name = f"{family}_{alpha}_{'top' if top else 'features'}"
        write(build(family, alpha, top), folder / name, traces=alpha == 1)
    print(keras.__version__)


if __name__ == "__main__":
    main()
