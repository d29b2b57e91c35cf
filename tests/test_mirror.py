"""The tests mirror the source: the test of a file is found by its path.

`src/mobilenet_hub/web/request.py` is tested in `tests/web/test_request.py`, one side of it in
`test_request_SIDE.py`, and an `__init__.py` in `test_init.py`; `tests/faults`, `tests/docs` and
`tests/registry` are about the whole.
"""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import mobilenet_hub

SOURCE = Path(mobilenet_hub.__file__).parent
TESTS = Path(__file__).parent
WHOLE = ("faults", "docs", "registry", "support")

# Where the test of a file is, if not at its own path: the first pattern that fits.
ELSEWHERE = {
    # Doors and words: whatever they hold is tested where it is used.
    "*/__init__.py": "test_architecture.py",
    "__init__.py": "test_architecture.py",
    "pipeline/records.py": "pipeline/test_api.py",
    # Parts of one thing that is tested as a whole.
    "arrays.py": "test_module.py",
    "inference.py": "test_module.py",
    "cli/*.py": "cli/test_options.py",
    "benchmarking/*.py": "benchmarking/test_benchmark.py",
    "evaluation/*.py": "evaluation/test_api.py",
    "graph/*.py": "graph/test_graph.py",
    "keras/ops/*.py": "keras/test_batch_norm.py",
    "keras/*.py": "keras/test_layer.py",
    "pages/*.py": "evaluation/test_report.py",
    "retraining/data/*.py": "retraining/data/test_features.py",
    "retraining/*.py": "retraining/test_api.py",
    "runtime/*.py": "runtime/test_runtime.py",
    "signatures/*.py": "test_module.py",
    "tensorflow/*.py": "tensorflow/test_graph_module.py",
    "tensorflow_hub/*.py": "tensorflow_hub/test_spec.py",
    "verification/*.py": "verification/test_verify.py",
    "weights/readers/keras/*.py": "weights/readers/keras/test_files.py",
    "weights/readers/tensorflow/*.py": "weights/readers/tensorflow/test_graphs.py",
    "weights/readers/*.py": "weights/readers/test_formats.py",
    "weights/calibration.py": "graph/test_graph.py",
    "weights/*.py": "weights/test_canonical.py",
}

# Tests of several files at once.
OF_SEVERAL = {
    "test_accuracy.py", "test_architecture.py", "test_mirror.py", "test_seeds.py",
    "cli/test_exit_codes.py", "cli/test_terminal.py",
    "pipeline/test_classifiers.py",
    "keras/test_distribution.py", "keras/test_load.py", "keras/test_missing.py",
    "keras/test_precision.py", "keras/test_transfer.py",
    "tensorflow/test_classifier.py", "tensorflow/test_hall.py", "tensorflow/test_keras_files.py",
    "tensorflow/test_programs.py", "tensorflow/test_retraining.py",
    "weights/readers/tensorflow/test_checkpoints.py",
    "weights/readers/tensorflow/test_real_tensorflow.py",
}  # fmt: skip

FILES = sorted(str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py"))


def own_test(file: str) -> str:
    """Where the test of a file of the source should be."""
    path = Path(file)
    name = "init" if path.stem == "__init__" else path.stem.strip("_")
    return str(path.with_name(f"test_{name}.py"))


def fits(file: str, pattern: str) -> bool:
    """Whether a pattern is of a file; a `*` in it is one name, but for the folders of `*/`."""
    same_depth = file.count("/") == pattern.count("/")
    return fnmatch(file, pattern) and (same_depth or pattern.startswith("*/"))


def test_the_test_of_a_file_is_found_by_its_path():
    def found(file):
        named = (test for pattern, test in ELSEWHERE.items() if fits(file, pattern))
        return any((TESTS / test).is_file() for test in (own_test(file), *named))

    assert [file for file in FILES if not found(file)] == []


def test_every_test_has_a_file_of_the_source_or_says_that_it_is_of_several():
    tests = {str(path.relative_to(TESTS)) for path in TESTS.rglob("test_*.py")}
    mirrored = {own_test(file) for file in FILES} | set(ELSEWHERE.values())
    beginnings = tuple(f"{test.removesuffix('.py')}_" for test in mirrored)
    others = tests - mirrored - OF_SEVERAL
    assert {test for test in others if not test.startswith((*WHOLE, *beginnings))} == set()


def test_no_exception_is_left_over():
    assert [p for p in ELSEWHERE if not any(fits(file, p) for file in FILES)] == []
    tests = OF_SEVERAL | set(ELSEWHERE.values())
    assert {test for test in tests if not (TESTS / test).is_file()} == set()
