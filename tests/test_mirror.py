"""The tests mirror the source: the test of a file is found by its path.

`src/mobilenet_hub/web/request.py` is tested in `tests/web/test_request.py`, or in another test of
`tests/web` that imports it; `tests/faults`, `tests/docs` and `tests/registry` are about the whole.
"""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import mobilenet_hub

SOURCE = Path(mobilenet_hub.__file__).parent
TESTS = Path(__file__).parent
ABOUT_THE_WHOLE = {"faults", "docs", "registry", "support"}

# Parts of one thing that is tested as a whole, through what the room is for: the test of these.
ELSEWHERE = {
    "arrays.py": "test_module.py",
    "inference.py": "test_module.py",
    "signatures/*.py": "test_module.py",
    "benchmarking/*.py": "benchmarking/test_benchmark.py",
    "cli/options/*.py": "cli/test_options.py",
    "conversion/measure.py": "conversion/test_calibrate.py",
    "graph/*.py": "graph/test_graph.py",
    "keras/ops/*.py": "keras/test_batch_norm.py",
    "keras/fine_tuning/*.py": "keras/test_fine_tuning.py",
    "keras/*.py": "keras/test_layer.py",
    "pipeline/records.py": "pipeline/test_api.py",
    "retraining/*.py": "retraining/test_api.py",
    "runtime/*.py": "runtime/test_runtime.py",
    "tensorflow/*.py": "tensorflow/test_graph_module.py",
    "tensorflow_hub/*.py": "tensorflow_hub/test_spec.py",
    "weights/readers/keras/hdf5_*.py": "weights/readers/keras/test_hdf5.py",
    "weights/readers/keras/names.py": "weights/readers/keras/test_files.py",
    "weights/readers/tensorflow/leveldb.py": "weights/readers/tensorflow/test_tensor_bundle.py",
    "weights/readers/tensorflow/protobuf.py": "weights/readers/tensorflow/test_graph_def.py",
    "weights/readers/dataflow.py": "weights/readers/tensorflow/test_match_network.py",
    "weights/readers/*.py": "weights/readers/test_formats.py",
    "weights/*.py": "weights/test_canonical.py",
}
OF_ALL_ROOMS = {"test_accuracy.py", "test_architecture.py", "test_mirror.py", "test_seeds.py"}

FILES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py") if path.stem != "__init__")


def own_test(file: Path) -> Path:
    """Where the test of a file of the source should be."""
    return TESTS / file.with_name(f"test_{file.stem.strip('_')}.py")


def imported_beside(file: Path) -> bool:
    """Whether a test in the folder that mirrors the file's own imports it."""
    room, name = ".".join(("mobilenet_hub", *file.parent.parts)), file.stem
    there = rf"import {room}\.{name}\b|from {room}\.{name}\b|from {room} import [^\n]*\b{name}\b"
    tests = (TESTS / file.parent).glob("test_*.py")
    return any(re.search(there, test.read_text("utf-8")) for test in tests)


def exceptions(file: Path) -> list[str]:
    """The patterns that a file fits; a `*` in them is of one name, not of folders."""
    same_depth = (p for p in ELSEWHERE if p.count("/") == len(file.parts) - 1)
    return [pattern for pattern in same_depth if fnmatch(str(file), pattern)]


def test_the_test_of_a_file_is_found_by_its_path():
    lost = [
        str(file)
        for file in FILES
        if not (own_test(file).is_file() or imported_beside(file) or exceptions(file))
    ]
    assert lost == []


def test_every_folder_of_tests_mirrors_one_of_the_source():
    folders = {test.parent.relative_to(TESTS) for test in TESTS.rglob("test_*.py")}
    mirrored = {f for f in folders if not ABOUT_THE_WHOLE.intersection(f.parts[:1])}
    assert {str(folder) for folder in mirrored if not (SOURCE / folder).is_dir()} == set()
    here = {test.name for test in TESTS.glob("test_*.py")}
    of_files = {own_test(file).name for file in FILES if len(file.parts) == 1}
    rooms = {f"test_{path.name}.py" for path in SOURCE.iterdir() if path.is_dir()}
    assert here - of_files - rooms - OF_ALL_ROOMS == set()


def test_no_exception_is_left_over():
    used = {pattern for file in FILES for pattern in exceptions(file)}
    assert set(ELSEWHERE) - used == set()
    named = OF_ALL_ROOMS | set(ELSEWHERE.values())
    assert {test for test in named if not (TESTS / test).is_file()} == set()
