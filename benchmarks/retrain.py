"""`retrain` beside a plain Keras script and scikit-learn, on one folder of photos.

    KERAS_BACKEND=tensorflow python benchmarks/retrain.py DIR [--rounds 1] [--without keras]

DIR has `train` and `val` folders. Times are of whole processes, from their start to their end,
by the clock and of processors (which on a busy machine is the one to compare):

- `cold`: `mobilenet-hub retrain DIR` with an empty cache; `warm`: the same again;
- `keras`: keras.applications' MobileNetV2 frozen, `image_dataset_from_directory`, Dense, 5 epochs;
- `scikit-learn`: the head alone, on the features of the photos, along the same path of strengths,
  the best on `val` taken; beside it our own head alone, on the same features.

Sides take turns, so that a machine that grows slow slows all. Needs scikit-learn, Keras and a
backend.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

KERAS = """
import sys, keras
train, val = (
    keras.utils.image_dataset_from_directory(
        f"{sys.argv[1]}/{side}", image_size=(224, 224), label_mode="int", batch_size=32,
        class_names=sorted(p.name for p in __import__("pathlib").Path(sys.argv[1], "train").iterdir()),
    )
    for side in ("train", "val")
)
base = keras.applications.MobileNetV2(include_top=False, pooling="avg", weights=sys.argv[2])
base.trainable = False
inputs = keras.Input((224, 224, 3))
features = base(keras.applications.mobilenet_v2.preprocess_input(inputs), training=False)
outputs = keras.layers.Dense(len(train.class_names), activation="softmax")(features)
model = keras.Model(inputs, outputs)
model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(train, validation_data=val, epochs=5, verbose=0)
print(f"{history.history['val_accuracy'][-1]:.1%} val")
"""  # noqa: E501

SKLEARN = """
import sys, time, numpy as np
from sklearn.linear_model import LogisticRegression
data = np.load(sys.argv[1])
start = time.perf_counter()
best, head = -1, None
for strength in data["strengths"]:
    model = LogisticRegression(C=1 / (strength * len(data["x"])), max_iter=9999, tol=1e-6)
    model.fit(data["x"], data["y"])
    found = model.score(data["val_x"], data["val_y"])
    if found > best:
        best, head = found, model
np.save(sys.argv[2], head.predict_proba(data["val_x"]))
print(best, head.C, time.perf_counter() - start)
"""


class Seconds(NamedTuple):
    """What a process took: by the clock, and of processors."""

    wall: float
    processor: float


def timed(arguments: list[str], environment: dict[str, str]) -> tuple[Seconds, str]:
    """What a process took, and what it prints."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(arguments, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Seconds(wall, processor), done.stdout


def retrained(photos: Path, output: Path, environment: dict[str, str]) -> tuple[Seconds, str]:
    """What the command took, and the accuracies that it prints."""
    command = [sys.executable, "-m", "mobilenet_hub", "retrain", str(photos), "-o", str(output)]
    seconds, printed = timed([*command, "--json"], environment)
    figures = [
        f"{each['top_1']['value']:.1%} {each['name']}"
        for each in json.loads(printed)["evaluations"]
    ]
    return seconds, "; ".join(figures)


def features_of(photos: Path) -> dict[str, np.ndarray]:
    """Features and classes of both sides."""
    import mobilenet_hub as hub
    from mobilenet_hub.retraining.choosing import STRENGTHS

    labels = sorted(path.name for path in (photos / "train").iterdir())
    arrays: dict[str, np.ndarray] = {"strengths": np.array(STRENGTHS)}
    for side, prefix in (("train", ""), ("val", "val_")):
        records = [record for record in hub.embed(photos / side) if record.ok]
        arrays[f"{prefix}x"] = np.stack([record.embedding for record in records])
        arrays[f"{prefix}y"] = np.array([labels.index(Path(r.path).parent.name) for r in records])
    return arrays


def own_head(arrays: dict[str, np.ndarray]) -> tuple[float, float, np.ndarray]:
    """Seconds along the path of strengths, the best accuracy on `val`, and its probabilities."""
    from mobilenet_hub.retraining import choosing
    from mobilenet_hub.retraining.cores import all_cores
    from mobilenet_hub.retraining.head import CONVERGED, Regression, principal_axes

    start = time.perf_counter()
    x, y = (np.concatenate([arrays[name], arrays[f"val_{name}"]]) for name in "xy")
    folds = (np.arange(len(x)) >= len(arrays["x"])).astype(np.int64)  # 0: learned from, 1: val
    axes = principal_axes(x, np.flatnonzero(folds == 0))
    with all_cores() as pool:
        fitted = Regression(x, axes, y, int(y.max()) + 1, folds, None, pool)
        trials = choosing.choose_strength(fitted, y, (1,), 1, patience=99, gain=CONVERGED).trials
    best = max(trials, key=lambda trial: trial.accuracy)  # the first of equals, as below
    _, logits = fitted.logits(best.coefficients, 1)
    chances = choosing.probabilities(logits, multi_label=False)
    return time.perf_counter() - start, best.accuracy, chances


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--without", nargs="*", default=[], choices=["keras", "scikit-learn"])
    parser.add_argument("--weights", default="imagenet", help="of keras.applications, or a file")
    chosen = parser.parse_args()
    seconds: dict[str, list[Seconds]] = {}
    said: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for number in range(chosen.rounds):
            cache = {**os.environ, "MOBILENET_HUB_CACHE_DIR": str(work / f"cache{number}")}
            for name in ("cold", "warm"):
                took, said[name] = retrained(chosen.photos, work / f"out{number}", cache)
                seconds.setdefault(name, []).append(took)
            if "keras" not in chosen.without:
                arguments = [sys.executable, "-c", KERAS, str(chosen.photos), chosen.weights]
                took, said["keras"] = timed(arguments, dict(os.environ))
                seconds.setdefault("keras", []).append(took)
        for name, taken in seconds.items():
            wall, processor = map(statistics.median, zip(*taken, strict=True))
            figures = said[name].splitlines()[-1]
            print(f"{name}\t{wall:.1f} s, {processor:.1f} s of processors\t{figures}")
        arrays = features_of(chosen.photos)
        took, best, chances = own_head(arrays)
        print(f"own head, {len(arrays['strengths'])} strengths\t{took:.1f} s\t{best:.1%} val")
        if "scikit-learn" not in chosen.without:
            np.savez(work / "features.npz", **arrays)
            places = [str(work / "features.npz"), str(work / "probabilities.npy")]
            _, printed = timed([sys.executable, "-c", SKLEARN, *places], dict(os.environ))
            best, strength, seconds_of_it = map(float, printed.split())
            other = np.load(places[1])
            agree = (other.argmax(axis=1) == chances.argmax(axis=1)).mean()
            print(f"scikit-learn\t{seconds_of_it:.1f} s\t{best:.1%} val; C {strength:.3g}")
            print(f"the best heads of both agree on {agree:.1%} of val")


if __name__ == "__main__":
    main()
