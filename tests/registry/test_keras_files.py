"""Every file that Keras 2.15 and Keras 3 write of keras.applications' MobileNets is read bit for
bit, or refused in one sentence; the table in docs/weights.md says which.

Keras 2.15 is installed, with TensorFlow 2.15, in an environment of its own. Set
MOBILENET_HUB_TEST_KERAS_FILES to a folder to keep what both write between runs, and
MOBILENET_HUB_WRITE_TABLES=1 to write the table.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.background import BACKGROUND_BIAS
from mobilenet_hub.weights.readers import read

pytestmark = pytest.mark.registry

ROOT = Path(__file__).parents[2]
WRITER = ROOT / "tests" / "support" / "keras_applications.py"
DOCS = ROOT / "docs" / "weights.md"
BEGIN, END = "<!-- written by tests/registry/test_keras_files.py -->", "<!-- end -->"

# What is written, by which Keras, to which ends of file names; whether its names are all there.
WRITTEN = {
    "2.15": {
        ".keras": '`model.save("x.keras")`',
        ".h5": '`model.save("x.h5")`',
        ".legacy.h5": '`model.save_weights("x.h5")`',
        ".weights.h5": '`model.save_weights("x.weights.h5")`',
        ".savedmodel": '`model.save("folder")`',
        ".tf.index": '`model.save_weights("x")`',
    },
    "3": {
        ".keras": '`model.save("x.keras")`',
        ".h5": '`model.save("x.h5")`',
        ".weights.h5": '`model.save_weights("x.weights.h5")`',
        ".export": '`model.export("folder")`',
    },
}
MODELS, FEW = 20, 4  # of the least and the greatest multiplier, one with top and one without
REFUSED = {("2.15", ".weights.h5"): "has numbers in place of the names of its layers"}
KERAS_2 = "tensorflow-cpu==2.15.*"


def keras_2(folder):
    """Python with Keras 2.15."""
    if sys.version_info >= (3, 12):
        pytest.skip("TensorFlow 2.15 needs Python 3.11 or older")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", KERAS_2]
    subprocess.run(install, check=True)
    return python


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((version, count), marks=[pytest.mark.long] if count == MODELS else [])
        for version in WRITTEN
        for count in (FEW, MODELS)
    ],
    ids=lambda pair: f"{pair[0]}-{pair[1]}",
)
def written(request, tmp_path_factory):
    """The version of Keras, how many models, and a folder of everything that it writes of them."""
    version, count = request.param
    kept = os.environ.get("MOBILENET_HUB_TEST_KERAS_FILES")
    folder = Path(kept or tmp_path_factory.mktemp("keras")) / f"{version}-{count}"
    if not (folder / "complete").exists():
        if version == "3":
            pytest.importorskip("keras")
            pytest.importorskip("tensorflow")
            python = Path(sys.executable)
        else:
            python = keras_2(tmp_path_factory.mktemp("environment"))
        folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(
            [python, WRITER, folder, str(count)], env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.splitlines()[-1].startswith(version)
        (folder / "complete").write_text("")
    return version, count, folder


def expected_of(arrays, network):
    """The arrays of a model, in the order of its layers, by their TF-Slim names."""
    arrays = iter(arrays)
    tensors = {}
    for layer in network.convolutions:
        tensors[layer.weights_name] = next(arrays)
        for statistic in ("gamma", "beta", "moving_mean", "moving_variance"):
            tensors[layer.batch_norm_name(statistic)] = next(arrays)
    for kernel in arrays:  # the classification layer, if there is one: 1000 classes
        biases = next(arrays)
        kernel = kernel.reshape(1, 1, -1, 1000)
        scope = network.logits.scope
        zeros = np.zeros((1, 1, kernel.shape[2], 1), np.float32)
        tensors[f"{scope}/weights"] = np.concatenate([zeros, kernel], 3)
        tensors[f"{scope}/biases"] = np.concatenate([[BACKGROUND_BIAS], biases])
    return tensors


def outcome(path, arrays):
    """`equal`, or the sentence."""
    try:
        weights = read(path)
    except WeightsError as error:
        return str(error)
    expected = expected_of(arrays, weights.network)
    assert sorted(weights.tensors) == sorted(expected), path
    different = [n for n, t in weights.tensors.items() if t.tobytes() != expected[n].tobytes()]
    assert different == [], path
    return "equal"


def test_every_file_is_read_bit_for_bit_or_refused_in_a_sentence(written):
    version, count, folder = written
    counts, wrong = Counter(), []
    models = sorted(path.stem for path in folder.glob("*.npz"))
    assert len(models) == count
    for model in models:
        with np.load(folder / f"{model}.npz") as file:
            arrays = [file[f"arr_{index}"] for index in range(len(file.files))]
        for end in WRITTEN[version]:
            sentence = REFUSED.get((version, end), "equal")
            result = outcome(folder / f"{model}{end}", arrays)
            if sentence not in result or "\n" in result:
                wrong.append(f"{model}{end}: {result}")
            counts[end] += result == "equal"
    assert wrong == []
    assert all(counts[end] == count for end in WRITTEN[version] if (version, end) not in REFUSED)
    if count == MODELS:
        assert_documented(version, counts, len(models))


def assert_documented(version, counts, models):
    """The rows of the table in the documentation are those of this run."""
    rows = []
    for end, how in WRITTEN[version].items():
        read_of = f"{counts[end]} of {models}, bit for bit"
        result = "refused: it has no names of layers" if (version, end) in REFUSED else read_of
        rows.append(f"| Keras {version} | {how} | {result} |")
    text = DOCS.read_text()
    before, _, rest = text.partition(BEGIN)
    table, _, after = rest.partition(END)
    others = [line for line in table.splitlines() if line.startswith("| Keras")]
    others = [line for line in others if not line.startswith(f"| Keras {version} ")]
    if os.environ.get("MOBILENET_HUB_WRITE_TABLES"):
        head = ["| written by | with | models read |", "|---|---|---|"]
        lines = "\n".join([*head, *sorted(others + rows, key=lambda row: row.split("|")[1])])
        DOCS.write_text(f"{before}{BEGIN}\n{lines}\n{END}{after}")
        return
    assert [row for row in rows if row not in table] == []
