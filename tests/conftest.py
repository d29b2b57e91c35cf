"""What all tests share: where the reference material is, and no network."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from places import EXAMPLES, SHARED

# No test reaches beyond this machine, nor looks at what its user has cached or pinned.
os.environ.setdefault("MOBILENET_HUB_OFFLINE", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Where it is set, each child would compile the whole package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # where a test imports ONNX Runtime itself
os.environ["MOBILENET_HUB_CACHE_DIR"] = tempfile.mkdtemp(prefix="mobilenet-hub-tests-")
for variable in ("TFHUB_CACHE_DIR", "MOBILENET_HUB_LOCK"):
    os.environ.pop(variable, None)
atexit.register(shutil.rmtree, os.environ["MOBILENET_HUB_CACHE_DIR"], ignore_errors=True)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The reference material beside the checkout; too big to be part of it."""
    if not SHARED.is_dir():
        pytest.skip("the reference material is not beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def examples() -> Path:
    """The example photos."""
    return EXAMPLES


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--all` runs what a laptop skips; CI=true means the same."""
    parser.addoption("--all", action="store_true", help="run slow, registry and browser tests too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the marked tests unless they are asked for."""
    if config.getoption("--all") or config.option.markexpr or os.environ.get("CI"):
        return
    for item in items:
        for marker in ("slow", "registry", "browser"):
            if marker in item.keywords:
                item.add_marker(pytest.mark.skip(reason=f"{marker}: run with --all"))
