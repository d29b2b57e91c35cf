"""The outcome of `verify` for what a run computes with, kept for this process and this machine.

It goes into every dataset as information: nothing depends on it, so that parts from unequal
machines may lie side by side.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mobilenet_hub.errors import MissingCalibrationError
from mobilenet_hub.files import cache_directory, write_atomically
from mobilenet_hub.inference import InferenceModule
from mobilenet_hub.verification.golden import SIZE, golden_of
from mobilenet_hub.verification.machine import this_machine
from mobilenet_hub.verification.verify import verify

_MOST_BYTES = 200  # of a line that is kept
_known: dict[str, str] = {}  # in this process, by all that decides it


def remembered(module: InferenceModule) -> str:
    """How this machine does with a module's weights, engine and precision.

    Computed the first time, in about a second; kept in the cache folder where that can be written.

    Returns:
        `passed` or `failed` and the digest of a `Verification`; or `no golden outputs`; or `not
        compared` and why.
    """
    if module.info.image_size != SIZE:
        return "no golden outputs"
    try:
        how: dict[str, Any] = {**module.identity((SIZE, SIZE)), **asdict(module.compute)}
    except MissingCalibrationError as error:  # a classifier that is calibrated for another size
        return f"not compared: {error}"
    how["machine"] = asdict(this_machine())
    del how["threads"]  # never changes a result
    key = json.dumps(how, sort_keys=True)
    if key not in _known:
        _known[key] = _kept_or_computed(module, hashlib.sha256(key.encode()).hexdigest()[:32])
    return _known[key]


def _kept_or_computed(module: InferenceModule, name: str) -> str:
    """What a file of that name in the cache says; else what is computed now, and kept there."""
    path, compute = cache_directory() / "verified" / f"{name}.txt", module.compute
    if (kept := _read(path)) is not None:
        return kept
    if golden_of(module.current_weights()) is None:
        return "no golden outputs"
    outcome = verify(module, engines=[compute.engine], precisions=[compute.precision])
    line = f"{'passed' if outcome.passed else 'failed'} {outcome.digest}"
    with suppress(OSError):  # not kept: the next run computes it again
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, line.encode())
    return line


def _read(path: Path) -> str | None:
    """The line in a file, if it is one that was written here."""
    try:
        with path.open("rb") as file:
            line = file.read(_MOST_BYTES).decode("ascii", "replace")
    except OSError:
        return None
    return line if re.fullmatch(r"(passed|failed) [0-9a-f]{16}", line) else None
