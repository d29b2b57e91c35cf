"""Without the extra: what says which command to run, and what does not need it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from places import ROOT

HANDLE = "google/imagenet/mobilenet_v1_025_224/feature_vector/3"
TRAINING = [
    "hub.KerasLayer(HANDLE)",
    "hub.load(HANDLE)",
    "hub.Module(HANDLE, trainable=True)",
    "hub.Module(HANDLE, trainable=True, tags={'train'})",
    "hub.Module(HANDLE, tags={'train'})",
    "__import__('mobilenet_hub.keras')",
]


def run(script, **environment):
    source = str(ROOT / "src")
    return subprocess.run(
        [sys.executable, "-c", f"HANDLE = {HANDLE!r}\n{script}"],
        env=os.environ | {"PYTHONPATH": source} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_importing_the_package_imports_no_framework():
    done = run(
        "import sys, mobilenet_hub as hub\n"
        "assert 'KerasLayer' in dir(hub)\n"
        "hub.Module\n"
        "heavy = {'keras', 'tensorflow', 'torch', 'jax'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    assert done.returncode == 0, done.stderr


def test_without_keras_everything_that_trains_says_which_command_to_run():
    attempts = "".join(
        f"try: {attempt}\n"
        "except hub.MobileNetHubError as error: print(type(error).__name__, error)\n"
        for attempt in TRAINING
    )
    gone = "import sys\nsys.modules['keras'] = sys.modules['tensorflow'] = None\n"
    done = run(f"{gone}import mobilenet_hub as hub\n{attempts}")
    assert done.returncode == 0, done.stderr
    expected = (
        "MissingExtraError Training (KerasLayer, load, tags={'train'}) needs an extra: "
        "pip install 'mobilenet-hub[keras]'"
    )
    assert done.stdout.splitlines() == [expected] * len(TRAINING)


def test_without_keras_inference_works():
    done = run(
        "import sys\nsys.modules['keras'] = None\n"
        "import numpy as np, mobilenet_hub as hub\n"
        "features = hub.Module(HANDLE, tags=set())(np.zeros((1, 64, 64, 3), np.float32))\n"
        "assert features.shape == (1, 256)"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not find_spec("keras"), reason="needs the extra [keras]")
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_without_a_backend_keras_needs_one(backend):
    done = run(
        f"import sys\nsys.modules[{backend!r}] = None\n"
        "import mobilenet_hub as hub\n"
        "try: hub.KerasLayer(HANDLE)\n"
        "except hub.MobileNetHubError as error: print(type(error).__name__, error)\n",
        KERAS_BACKEND=backend,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "MissingBackendError Keras has no backend to run on: pip install tensorflow-cpu, jax or "
        "torch, and set the environment variable KERAS_BACKEND to tensorflow, jax or torch. "
        "Received: "
    )
    assert backend in done.stdout.partition("Received: ")[2]
    assert done.stdout.count("\n") == 1
