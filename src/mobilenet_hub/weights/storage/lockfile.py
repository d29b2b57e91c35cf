"""`mobilenet-hub.lock`: which weights a project, or a cache, has settled on.

A team commits it, so that everybody computes with the same weights; it pins a checkpoint when it is
first downloaded, and from then on anything else in its place is an error. It is looked for in the
current folder and those above it, or where MOBILENET_HUB_LOCK says. The cache keeps one of its own.

A pin holds the sha256 of the downloaded file, and those of the tensors themselves, which are the
same wherever they come from and whatever file they are converted to.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from mobilenet_hub.errors import PinError, WeightsError
from mobilenet_hub.files import write_atomically

if TYPE_CHECKING:
    from mobilenet_hub.weights.canonical import Weights

FILE_NAME = "mobilenet-hub.lock"
LOCK_VARIABLE = "MOBILENET_HUB_LOCK"
FORMAT_VERSION = 1
MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Pin:
    """What a checkpoint must be.

    Attributes:
        source: where it was downloaded from.
        sha256: of the file that was downloaded there; empty if there was no single file.
        features_sha256: of the tensors up to the feature vector.
        logits_sha256: of those of the classification layer; empty if there were none.
    """

    source: str
    sha256: str
    features_sha256: str
    logits_sha256: str


def pin_of(weights: Weights, source: str, sha256: str) -> Pin:
    """The pin of weights that were just obtained."""
    features, logits = tensor_digests(weights)
    return Pin(source, sha256, features, logits)


def tensor_digests(weights: Weights) -> tuple[str, str]:
    """The sha256 of names, shapes and values: of the feature tensors; of the logits', or empty."""
    features, logits = hashlib.sha256(), hashlib.sha256()
    for name in sorted(weights.tensors):
        tensor = weights.tensors[name]
        into = logits if "/Logits/" in name else features
        into.update(f"{name} {list(tensor.shape)}\n".encode())
        into.update(tensor.astype("<f4", copy=False).tobytes())
    return features.hexdigest(), logits.hexdigest() if weights.has_logits else ""


def check(weights: Weights, key: str, pin: Pin, lock: Path) -> None:
    """Compare weights with what is pinned; logits only where both have them.

    Raises:
        PinError: they are others.
    """
    features, logits = tensor_digests(weights)
    if features != pin.features_sha256:
        raise mismatch(key, lock, pin.features_sha256, features, weights.metadata.get("source", ""))
    if logits and pin.logits_sha256 and logits != pin.logits_sha256:
        raise mismatch(key, lock, pin.logits_sha256, logits, weights.metadata.get("source", ""))


def mismatch(key: str, lock: Path, expected: str, received: str, source: str) -> PinError:
    """The error for weights that are not the pinned ones."""
    return PinError(
        f"The weights of {key} are not those that {lock} pins. If they were changed on purpose, "
        f"`mobilenet-hub fetch --repin` (or `import --repin`) accepts the new ones; if not, do not "
        f"use them: `fetch --force` fetches the pinned ones in place of those in the cache. "
        f"Expected sha256 {expected}. Received: {received}, from {source}"
    )


def find() -> Path | None:
    """The project's lock file: where MOBILENET_HUB_LOCK says, or in or above the current folder.

    Returns:
        Its path (which need not exist if the variable names it), or None if there is none.
    """
    if named := os.environ.get(LOCK_VARIABLE):
        return Path(named).expanduser()
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the current folder was removed
        return None
    for folder in (here, *here.parents):
        path = folder / FILE_NAME
        if os.path.isfile(path):  # noqa: PTH113, unlike Path's, False where one may not look
            return path
    return None


def read(path: str | PathLike[str]) -> dict[str, Pin]:
    """The pins of a lock file by checkpoint key; none if there is no such file.

    Raises:
        WeightsError: it is not a lock file, or one of a later version.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise WeightsError(f"Cannot read the lock file {path}. Received: {error}") from error
    try:
        value = json.loads(data)
        version, pins = value["version"], value["weights"]
        if version == FORMAT_VERSION:
            return {str(key): _pin(pin) for key, pin in pins.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{path} is not a lock file of this library: restore it from version control, or "
            f"delete it. Received: {error!r}"
        ) from error
    raise WeightsError(
        f"{path} was written by a later version of this library: upgrade it. "
        f"Expected version {FORMAT_VERSION}. Received: {version!r}"
    )


def _pin(value: dict[str, str]) -> Pin:
    fields = ("source", "sha256", "features_sha256", "logits_sha256")
    return Pin(*(str(value[field]) for field in fields))


def add(path: str | PathLike[str], key: str, pin: Pin) -> None:
    """Pin a checkpoint, in place of what was pinned for it. The caller holds a lock.

    Raises:
        WeightsError: the file is not a lock file, or cannot be written.
    """
    path = Path(path)
    pins = {**read(path), key: pin}
    value = {
        "version": FORMAT_VERSION,
        "weights": {name: asdict(pins[name]) for name in sorted(pins)},
    }
    try:
        write_atomically(path, (json.dumps(value, indent=2) + "\n").encode())
    except OSError as error:
        raise WeightsError(
            f"Cannot write the lock file {path}; the weights themselves are in the cache. "
            f"Received: {error}"
        ) from error
