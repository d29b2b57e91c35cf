"""`mobilenet-hub.lock`: which weights a project, or a cache, has settled on.

A team commits it, so that everybody computes with the same weights; it pins a checkpoint when it is
first downloaded, and from then on anything else in its place is an error. It is looked for in the
current folder and those above it, or where MOBILENET_HUB_LOCK says. The cache keeps such files of
its own, one for each checkpoint: the project's pins hold for whatever is loaded by its handle, the
cache's for downloads where the project has none, to notice a server that gives something else than
the first time.

A pin holds the sha256 of the downloaded file, and those of the tensors themselves, which are the
same wherever they come from and whatever file they are converted to.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from mobilenet_hub.errors import PinError, WeightsError
from mobilenet_hub.files import read_json, write_atomically
from mobilenet_hub.weights.storage.cache import Cache, Record
from mobilenet_hub.weights.storage.origins import Origin

if TYPE_CHECKING:
    from mobilenet_hub.weights.canonical import Weights

FILE_NAME = "mobilenet-hub.lock"
LOCK_VARIABLE = "MOBILENET_HUB_LOCK"
FORMAT_VERSION = 1
_digests: WeakKeyDictionary[Weights, tuple[str, str]] = WeakKeyDictionary()
_IMPORTED = "/imported"  # after the key: what was put there, beside what was first downloaded


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


@dataclass(frozen=True, slots=True)
class Pins:
    """The pins of one checkpoint.

    Attributes:
        cache: whose lock file, and whose locks.
        key: of the checkpoint.
        project: path of the project's lock file; None if there is none.
        project_pin: what that file says; None if nothing.
        repin: whether new weights are accepted and pinned in place of those.
    """

    cache: Cache
    key: str
    project: Path | None
    project_pin: Pin | None
    repin: bool

    @staticmethod
    def find(cache: Cache, key: str, lock: Path | None = None, *, repin: bool = False) -> Pins:
        """Look the pins up.

        Args:
            cache: the cache.
            key: of the checkpoint.
            lock: the project's lock file; looked for if None.
            repin: see above.

        Raises:
            WeightsError: the lock file cannot be read.
        """
        project = lock or project_file()
        project_pin = read_pins(project).get(key) if project else None
        return Pins(cache, key, project, project_pin, repin)

    def check_project(self, weights: Weights) -> None:
        """Compare weights with the project's pin.

        Raises:
            PinError: they are others.
        """
        if self.project and self.project_pin and not self.repin:
            _compare(weights, self.key, self.project_pin, self.project)

    def check(self, weights: Weights) -> None:
        """Compare what was downloaded with the pin that holds for it.

        Raises:
            PinError: they are others.
        """
        if (found := self._for_downloads()) is not None:
            pin, lock = found
            _compare(weights, self.key, pin, lock)

    def check_download(self, origin: Origin, sha256: str) -> None:
        """Compare the file itself with a pin of the same source, before it is opened.

        Raises:
            PinError: it is another.
        """
        if (found := self._for_downloads()) is not None:
            pin, lock = found
            if pin.sha256 not in ("", sha256) and pin.source == origin.address:
                raise _mismatch(self.key, lock, pin.sha256, sha256, origin.address)

    def _for_downloads(self) -> tuple[Pin, Path] | None:
        """The project's pin, on which its people agree; else what this cache saw first."""
        if self.repin:
            return None
        if self.project and self.project_pin:
            return self.project_pin, self.project
        pin = self._cache_pin
        return (pin, self._cache_lock) if pin else None

    def checked(self, entry: Record) -> Record:
        """An entry that is in the cache already: it must be what the project pins, or is pinned.

        Raises:
            PinError: it is not.
            WeightsError: it was changed or damaged.
        """
        weights = self.cache.load(entry)
        self.check_project(weights)
        if self.project and (self.project_pin is None or self.repin):
            self.pin_project(weights)
        return entry

    def add(self, weights: Weights, origin: Origin, sha256: str) -> None:
        """Pin what was downloaded, where nothing is pinned yet or `repin` says so.

        What the project pins is from then on what the cache has seen.
        """
        pin = pin_of(weights, origin.address, sha256)
        if self._cache_pin is None or self.repin or self.project_pin:
            self._write(self._cache_lock, pin, self.key)
        if self.project and (self.project_pin is None or self.repin):
            self._write(self.project, pin, self.key)

    def add_import(self, weights: Weights) -> None:
        """Note in the cache's lock file that somebody put these weights there; see `verify`."""
        self._write(self._cache_lock, pin_of(weights), f"{self.key}{_IMPORTED}")

    def pin_project(self, weights: Weights) -> None:
        """Pin weights in the project's lock file, which there must be."""
        assert self.project is not None
        self._write(self.project, pin_of(weights), self.key)

    def _write(self, lock: Path, pin: Pin, key: str) -> None:
        write = self.cache.write if lock == self._cache_lock else write_atomically
        with self.cache.lock("lockfile"):
            add_pin(lock, key, pin, write)

    @property
    def _cache_pin(self) -> Pin | None:
        return read_pins(self._cache_lock).get(self.key)

    @property
    def _cache_lock(self) -> Path:
        return self.cache.pins_directory / f"{self.key}.lock"


def pin_of(weights: Weights, source: str | None = None, sha256: str | None = None) -> Pin:
    """The pin of weights, from where their metadata says unless told otherwise."""
    known = weights.metadata
    return Pin(
        known.get("source", "") if source is None else source,
        known.get("source_sha256", "") if sha256 is None else sha256,
        *tensor_digests(weights),
    )


def tensor_digests(weights: Weights) -> tuple[str, str]:
    """The sha256 of names, shapes and values: of the feature tensors; of the logits', or empty."""
    if weights not in _digests:
        _digests[weights] = _tensor_digests(weights)
    return _digests[weights]


def _tensor_digests(weights: Weights) -> tuple[str, str]:
    features, logits = hashlib.sha256(), hashlib.sha256()
    for name in sorted(weights.tensors):
        tensor = weights.tensors[name]
        into = logits if "/Logits/" in name else features
        into.update(f"{name} {list(tensor.shape)}\n".encode())
        into.update(np.ascontiguousarray(tensor, "<f4").reshape(-1).data)
    return features.hexdigest(), logits.hexdigest() if weights.has_logits else ""


def _difference(weights: Weights, pin: Pin) -> tuple[str, str] | None:
    """The pinned digest and that of the weights, where they differ; logits if both have them."""
    features, logits = tensor_digests(weights)
    if features != pin.features_sha256:
        return pin.features_sha256, features
    if logits and pin.logits_sha256 and logits != pin.logits_sha256:
        return pin.logits_sha256, logits
    return None


def _compare(weights: Weights, key: str, pin: Pin, lock: Path) -> None:
    """Compare weights with what is pinned.

    Raises:
        PinError: they are others.
    """
    if (found := _difference(weights, pin)) is not None:
        raise _mismatch(key, lock, *found, weights.metadata.get("source", ""))


def _mismatch(key: str, lock: Path, expected: str, received: str, source: str) -> PinError:
    """The error for weights that are not the pinned ones."""
    return PinError(
        f"The weights of {key} are not those that {lock} pins. If they were changed on purpose, "
        f"`mobilenet-hub fetch --repin` (or `import --repin`) accepts the new ones; if not, do not "
        f"use them: `fetch --force` fetches the pinned ones in place of those in the cache. "
        f"Expected sha256 {expected}. Received: {received}, from {source}"
    )


def check_project(key: str, weights: Weights) -> None:
    """Compare weights with what the project's lock file pins for a checkpoint, where there is one.

    Raises:
        PinError: they are others.
        WeightsError: the lock file cannot be read.
    """
    if (project := project_file()) and (pin := read_pins(project).get(key)):
        _compare(weights, key, pin, project)


def project_file() -> Path | None:
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


def read_pins(path: str | PathLike[str]) -> dict[str, Pin]:
    """The pins of a lock file by checkpoint key; none if there is no such file.

    Raises:
        WeightsError: it is not a lock file, or one of a later version.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            value = read_json(file)
        version, pins = value["version"], value["weights"]
        if version == FORMAT_VERSION:
            names = Pin.__slots__
            return {str(k): Pin(*(str(pin[name]) for name in names)) for k, pin in pins.items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise WeightsError(f"Cannot read the lock file {path}. Received: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path} is not a lock file of this library: restore it from version control, or "
            f"delete it. Received: {error!r}"
        ) from error
    raise WeightsError(
        f"{path} was written by a later version of this library: upgrade it. "
        f"Expected version {FORMAT_VERSION}. Received: {version!r}"
    )


def add_pin(
    path: str | PathLike[str],
    key: str,
    pin: Pin,
    write: Callable[[Path, bytes], None] = write_atomically,
) -> None:
    """Pin a checkpoint, in place of what was pinned for it. The caller holds a lock.

    Args:
        path: of the lock file.
        key: of the checkpoint.
        pin: what it must be.
        write: writes a file.

    Raises:
        WeightsError: the file is not a lock file, or cannot be written.
    """
    path = Path(path)
    pins = {**read_pins(path), key: pin}
    value = {
        "version": FORMAT_VERSION,
        "weights": {name: asdict(pins[name]) for name in sorted(pins)},
    }
    try:
        write(path, (json.dumps(value, indent=2) + "\n").encode())
    except OSError as error:
        raise WeightsError(
            f"Cannot write the lock file {path}; the weights themselves are in the cache. "
            f"Received: {error}"
        ) from error


def verify(cache: Cache) -> dict[str, str | None]:
    """Read everything that is in a cache, and compare it with its records and its pins.

    Returns:
        For each key what is wrong with it, in words; None where nothing is.

    Raises:
        WeightsError: the lock file cannot be read.
    """
    result = cache.verify()
    for key in [key for key, problem in result.items() if problem is None]:
        pins = read_pins(cache.pins_directory / f"{key}.lock")
        known = [pin for name in (key, f"{key}{_IMPORTED}") if (pin := pins.get(name))]
        record = cache.get(key)
        if record is None or not known:
            continue
        weights = cache.load(record)
        if all(_difference(weights, pin) for pin in known):
            result[key] = (
                "neither what was first downloaded nor what was imported, as the cache notes it: "
                "somebody put it there. `mobilenet-hub fetch --force` replaces it"
            )
    return result
