"""What the lock files of a project and of the cache say of one checkpoint.

The project's pin holds for whatever is loaded by its handle. The cache's holds for downloads where
the project has none: it notices a server that gives something else than the first time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mobilenet_hub.errors import PinError
from mobilenet_hub.weights.storage import lockfile
from mobilenet_hub.weights.storage.cache import Cache, Entry
from mobilenet_hub.weights.storage.sources import Source

if TYPE_CHECKING:
    from mobilenet_hub.weights.canonical import Weights


@dataclass(frozen=True, slots=True)
class Pins:
    """The pins of one checkpoint.

    Attributes:
        cache: whose lock file, and whose locks.
        key: of the checkpoint.
        project: path of the project's lock file; None if there is none.
        project_pin, cache_pin: what they say; None if nothing.
        repin: whether new weights are accepted and pinned in place of those.
    """

    cache: Cache
    key: str
    project: Path | None
    project_pin: lockfile.Pin | None
    cache_pin: lockfile.Pin | None
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
            WeightsError: a lock file cannot be read.
        """
        project = lock or lockfile.find()
        project_pin = lockfile.read(project).get(key) if project else None
        cache_pin = lockfile.read(cache.directory / lockfile.FILE_NAME).get(key)
        return Pins(cache, key, project, project_pin, cache_pin, repin)

    def check_project(self, weights: Weights) -> None:
        """Compare weights with the project's pin.

        Raises:
            PinError: they are others.
        """
        if self.project and self.project_pin and not self.repin:
            lockfile.check(weights, self.key, self.project_pin, self.project)

    def accepts(self, weights: Weights) -> bool:
        """Whether the project's pin lets these be used; they may be had elsewhere if not."""
        try:
            self.check_project(weights)
        except PinError:
            return False
        return True

    def check(self, weights: Weights) -> None:
        """Compare what was downloaded with the pin that holds for it.

        Raises:
            PinError: they are others.
        """
        if (found := self._for_downloads()) is not None:
            pin, lock = found
            lockfile.check(weights, self.key, pin, lock)

    def check_download(self, source: Source, sha256: str) -> None:
        """Compare the file itself with a pin of the same source, before it is opened.

        Raises:
            PinError: it is another.
        """
        if (found := self._for_downloads()) is not None:
            pin, lock = found
            if pin.sha256 not in ("", sha256) and pin.source == source.address:
                raise lockfile.mismatch(self.key, lock, pin.sha256, sha256, source.address)

    def _for_downloads(self) -> tuple[lockfile.Pin, Path] | None:
        """The project's pin, on which its people agree; else what this cache saw first."""
        if self.repin:
            return None
        if self.project and self.project_pin:
            return self.project_pin, self.project
        return (self.cache_pin, self._cache_lock) if self.cache_pin else None

    def checked(self, entry: Entry) -> Entry:
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

    def add(self, weights: Weights, source: Source, sha256: str) -> None:
        """Pin what was downloaded, where nothing is pinned yet or `repin` says so.

        What the project pins is from then on what the cache has seen.
        """
        pin = lockfile.pin_of(weights, source.address, sha256)
        if self.cache_pin is None or self.repin or self.project_pin:
            self._write(self._cache_lock, pin)
        if self.project and (self.project_pin is None or self.repin):
            self._write(self.project, pin)

    def pin_project(self, weights: Weights) -> None:
        """Pin weights in the project's lock file, which there must be."""
        if self.project is None:
            raise AssertionError("no lock file to pin in")
        meta = weights.metadata
        pin = lockfile.pin_of(weights, meta.get("source", ""), meta.get("source_sha256", ""))
        self._write(self.project, pin)

    def _write(self, lock: Path, pin: lockfile.Pin) -> None:
        with self.cache.lock("lockfile"):
            lockfile.add(lock, self.key, pin)

    @property
    def _cache_lock(self) -> Path:
        return self.cache.directory / lockfile.FILE_NAME
