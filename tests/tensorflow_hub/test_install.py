"""Programs whose `import tensorflow_hub` means this library, without TensorFlow: whole scripts."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from places import DATA, ROOT

FEATURES = np.load(DATA / "real_weights_inference.npz")["mobilenet_v1_025_224/features"]
HANDLE = "https://tfhub.dev/google/imagenet/mobilenet_v1_025_224/feature_vector"

INSIDE = f"""
import mobilenet_hub.tensorflow_hub
mobilenet_hub.tensorflow_hub.install()

import numpy as np
import tensorflow_hub as hub

module = hub.Module("{HANDLE}/3")
np.save("found.npy", module(np.load("images.npy")))
"""
FILES = f"""
import sys

import numpy as np
from tensorflow_hub import image_util, module as module_lib
import tensorflow_hub.native_module
from tensorflow_hub.module_v2 import resolve

import helper

assert sys.argv[1:] == ["--images", "images.npy"], sys.argv
assert __name__ == "__main__"
spec = module_lib.load_module_spec("{HANDLE}/3")
assert image_util.get_expected_image_size(spec) == [224, 224]
assert resolve("{HANDLE}/3").endswith(".safetensors")
assert callable(tensorflow_hub.native_module.add_signature)
with module_lib.eval_function_for_module(spec) as f:
    np.save("found.npy", f(helper.read(sys.argv[2])))
"""
PIXELS = f"""
import numpy as np
import tensorflow_hub as hub

images = np.load("images.npy")
module = hub.Module("{HANDLE}/1")
try:
    module(images * 255)
except ValueError as error:
    assert "images = images / 255.0" in str(error), error
else:
    raise AssertionError("taken without a word")
np.save("found.npy", module(images * 255 / 255.0))
"""


def run(folder, script, *given, as_module=True):
    np.save(folder / "images.npy", np.random.RandomState(0).rand(4, 224, 224, 3))  # float64
    (folder / "script.py").write_text(script)
    (folder / "helper.py").write_text("import numpy as np\nread = np.load\n")
    command = ["-m", "mobilenet_hub.tensorflow_hub"] if as_module else []
    ran = subprocess.run(
        [sys.executable, *command, "script.py", *given],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return np.load(folder / "found.npy")


@pytest.mark.parametrize(
    ("script", "given", "as_module"),
    [
        pytest.param(INSIDE, (), False, id="installed from inside"),
        pytest.param(FILES, ("--images", "images.npy"), True, id="files of tensorflow_hub"),
        pytest.param(PIXELS, (), True, id="pixels to 255"),
    ],
)
def test_a_script_computes_the_original_features(tmp_path, script, given, as_module):
    found = run(tmp_path, script, *given, as_module=as_module)
    np.testing.assert_allclose(found, FEATURES, atol=1e-4)


def test_without_asking_tensorflow_hub_is_nobody(tmp_path):
    (tmp_path / "tensorflow_hub.py").write_text("WHOSE = 'somebody else'")
    script = "import tensorflow_hub, mobilenet_hub\nassert tensorflow_hub.WHOSE\n"
    script += "import numpy as np\nnp.save('found.npy', 0)"
    assert run(tmp_path, script, as_module=False) == 0
