"""The cache of converted weights: a folder that several processes, and several users, may share.

    weights/mobilenet_v2_100_224.json                          which file, and where it came from
    weights/mobilenet_v2_100_224.<sha256>.safetensors          the weights
    calibrations/<sha256>_224x224.safetensors                  what int8 needs to know of weights
    downloads/mobilenet_v2_100_224.<...>.part                  a download that can be resumed
    locks/mobilenet_v2_100_224.lock                            held while one process fetches
    pins/mobilenet_v2_100_224.lock                             what was downloaded first, imported
    compiled-1000/<key>.blob                                   see `runtime.compiled_cache`

Files are written beside their place and renamed, the weights before the record that names them, so
that a process killed at any moment leaves a cache that works. Locks are the operating system's:
they end with the process that holds them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import stat
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilenet_hub.errors import CacheError, WeightsError
from mobilenet_hub.files import (
    CACHE_DIR_VARIABLE,
    cache_directory,
    read_json,
    write_atomically,
)

if TYPE_CHECKING:
    from mobilenet_hub.weights.canonical import Weights

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_PERMISSION = {errno.EACCES, errno.EPERM, errno.EROFS}


def no_space(error: BaseException | None) -> bool:
    """Whether an error is that of a full disk, a quota, or a limit on the size of files."""
    return isinstance(error, OSError) and error.errno in _NO_SPACE


@dataclass(frozen=True, slots=True)
class Record:
    """The record of one checkpoint in the cache.

    Attributes:
        key: the checkpoint's, for example `mobilenet_v2_100_224`.
        file: name of the weights, beside the record.
        sha256: of that file.
        size: of that file, in bytes.
        has_logits: whether it serves the classification modules too.
        metadata: of the weights: handle, source, ...
    """

    key: str
    file: str
    sha256: str
    size: int
    has_logits: bool
    metadata: dict[str, str]


class Cache:
    """A cache folder; it need not exist before something is put there.

    Args:
        directory: the folder; `cache_directory()` if None.

    Attributes:
        directory: the folder.
        weights_directory: where records and weights lie.
        downloads_directory: where unfinished downloads lie.
        pins_directory: where it is noted what was downloaded first; a file for each checkpoint, so
            that users of a folder with the sticky bit do not stand in each other's way.
    """

    def __init__(self, directory: str | PathLike[str] | None = None) -> None:
        self.directory = Path(directory) if directory is not None else cache_directory()
        self.weights_directory = self.directory / "weights"
        self.downloads_directory = self.directory / "downloads"
        self.pins_directory = self.directory / "pins"

    def path(self, entry: Record) -> Path:
        """Where an entry's weights lie."""
        return self.weights_directory / entry.file

    def get(self, key: str, *, logits: bool = False) -> Record | None:
        """The record of a checkpoint; None if it is not in the cache, or lacks wanted logits.

        Raises:
            CacheError: the record cannot be read.
        """
        path = self.weights_directory / f"{key}.json"
        try:
            with path.open("rb") as file:
                entry = _record(read_json(file), key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._error(error, "read") from error
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise CacheError(
                f"{path} is damaged: `mobilenet-hub cache prune` removes it. Received: {error!r}"
            ) from error
        return entry if entry.has_logits or not logits else None

    def load(self, entry: Record) -> Weights:
        """The weights of an entry, their bytes checked against its sha256.

        Raises:
            WeightsError: the file was changed or damaged.
            CacheError: it cannot be read.
        """
        from mobilenet_hub.weights.canonical import load

        for _ in range(3):
            try:
                return load(self.path(entry), sha256=entry.sha256)
            except FileNotFoundError as error:  # replaced meanwhile, by another process?
                newer = self.get(entry.key)
                if newer is None or newer == entry:
                    raise CacheError(
                        f"The cache's record of {entry.key} names a file that is gone; "
                        f"`mobilenet-hub cache prune` removes such records. "
                        f"Received: no {self.path(entry)}"
                    ) from error
                entry = newer
            except OSError as error:
                raise self._error(error, "read") from error
        raise CacheError(f"{self.path(entry)} keeps being replaced: another process writes to it")

    def put(self, key: str, weights: Weights) -> Record:
        """Keep weights, in place of those that were there. The caller holds the key's lock.

        Raises:
            CacheError: no permission, no space.
        """
        import hashlib

        from mobilenet_hub.weights.canonical import to_bytes

        data = to_bytes(weights)
        sha256 = hashlib.sha256(data).hexdigest()
        entry = Record(
            key,
            f"{key}.{sha256}.safetensors",
            sha256,
            len(data),
            weights.has_logits,
            dict(weights.metadata),
        )
        record = json.dumps(asdict(entry), indent=1, sort_keys=True).encode()
        old = None
        with contextlib.suppress(WeightsError):  # a damaged record is about to be replaced
            old = self.get(key)
        with self.errors("write"):
            self.write(self.path(entry), data)
            self.write(self.weights_directory / f"{key}.json", record)
            if old is not None and old.file != entry.file:
                self.path(old).unlink(missing_ok=True)
        return entry

    def entries(self) -> list[Record]:
        """All that is in the cache, by key.

        Raises:
            CacheError: a record that cannot be read.
        """
        return [entry for key in self._keys() if (entry := self.get(key)) is not None]

    def verify(self) -> dict[str, str | None]:
        """Read everything that is in the cache.

        Returns:
            For each key what is wrong with it, in words; None where nothing is.
        """
        return {key: self._problem(key) for key in self._keys()}

    def _keys(self) -> list[str]:
        return [path.stem for path in self._listing(self.weights_directory, "*.json")]

    def _problem(self, key: str) -> str | None:
        try:
            entry = self.get(key)
            if entry is not None:
                self.load(entry)
        except WeightsError as error:
            return str(error)
        return None

    def prune(self) -> dict[Path, str | None]:
        """Remove what nothing needs: leavings of killed processes, damaged entries, old downloads.

        What another process is working on stays.

        Returns:
            For each file that nothing needs, why it is still there; None where it is gone. (Below
            the sticky bit, nobody removes what is another user's.)

        Raises:
            CacheError: the cache cannot be read, or not be written to at all.
        """
        removed: dict[Path, str | None] = {}
        keys = {path.name.lstrip(".").split(".")[0] for path in self._files("*")}
        for key in sorted(key for key in keys if key.startswith("mobilenet_v")):
            with self.lock(key, wait=False) as mine:
                if mine:
                    removed |= self._remove(self._leavings(key))
        return removed

    def _leavings(self, key: str) -> list[Path]:
        keep: set[Path] = set()
        if self._problem(key) is None and (entry := self.get(key)) is not None:
            keep = {self.weights_directory / f"{key}.json", self.path(entry)}
        found = (*self._files(f"{key}.*"), *self._files(f".{key}.*"))
        return [path for path in found if path not in keep]

    def remove(self, key: str) -> dict[Path, str | None]:
        """Forget a checkpoint.

        Returns:
            Its files, as `prune` does; none if it was not there.
        """
        with self.lock(key):
            return self._remove(self._files(f"{key}.*"))

    def _files(self, pattern: str) -> list[Path]:
        folders = (self.weights_directory, self.downloads_directory)
        return [path for folder in folders for path in self._listing(folder, pattern)]

    def _remove(self, paths: Iterable[Path]) -> dict[Path, str | None]:
        result: dict[Path, str | None] = {}
        for path in paths:
            with self.errors("clean"):
                try:
                    path.unlink(missing_ok=True)
                except PermissionError as error:
                    result[path] = error.strerror
                else:
                    result[path] = None
        return result

    @contextlib.contextmanager
    def lock(self, name: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold the lock of that name, across processes and threads.

        It is a lock of the operating system on a file that stays: it ends with its process, however
        that ends.

        Args:
            name: of the lock.
            wait: for another process that holds it; else yield False at once.

        Raises:
            CacheError: the cache cannot be written.
        """
        from filelock import FileLock, Timeout

        folder = self.directory / "locks"
        with self.errors("write"):
            self._make(folder)
            mode = 0o666 & self._mode
            lock = FileLock(folder / f"{name}.lock", timeout=-1 if wait else 0, mode=mode)
            try:
                lock.acquire()
            except Timeout:
                lock = None  # type: ignore[assignment]
            except NotImplementedError as error:
                raise CacheError(
                    f"The file system of the cache {self.directory} has no locks: set "
                    f"{CACHE_DIR_VARIABLE} to a folder on a local disk. Received: {error}"
                ) from error
        if lock is None:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    @contextlib.contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Turn errors of the file system into a CacheError that says what to do."""
        try:
            yield
        except WeightsError:  # some are OSErrors as well
            raise
        except OSError as error:
            raise self._error(error, doing) from error

    def _error(self, error: OSError, doing: str) -> CacheError:
        if no_space(error):
            advice = f"Free some space there, or set {CACHE_DIR_VARIABLE} to another disk."
        elif error.errno in _NO_PERMISSION:
            advice = (
                f"Set {CACHE_DIR_VARIABLE} to a folder you may write to; what is in the cache "
                f"already can be read without."
            )
        else:
            advice = f"Check the disk, or set {CACHE_DIR_VARIABLE} to another folder."
        return CacheError(f"Cannot {doing} the cache {self.directory}. {advice} Received: {error}")

    @cached_property
    def _mode(self) -> int:
        """Permissions of the cache folder: what is made in it is as open to others as it is.

        With setgid, what is made belongs to the folder's group; with the sticky bit, nobody removes
        what is another's.
        """
        return self.directory.stat().st_mode & 0o7777

    def _make(self, folder: Path) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            # Below the sticky bit, Linux opens nobody else's lock (fs.protected_regular).
            mode = self._mode & ~stat.S_ISVTX if folder.name == "locks" else self._mode
            with contextlib.suppress(PermissionError):  # another user was faster
                folder.chmod(mode)

    def write(self, path: Path, data: bytes) -> None:
        """Write a file of the cache, as open to others as the cache is.

        Raises:
            OSError: it cannot be written.
        """
        self._make(path.parent)
        write_atomically(path, data)
        path.chmod(0o666 & self._mode)

    def make_downloads(self) -> Path:
        """The folder of unfinished downloads, made if need be."""
        with self.errors("write"):
            self._make(self.downloads_directory)
        return self.downloads_directory

    def _listing(self, folder: Path, pattern: str) -> list[Path]:
        with self.errors("read"):
            return sorted(folder.glob(pattern)) if folder.is_dir() else []


def _record(value: Any, key: str) -> Record:
    entry = Record(
        key=str(value["key"]),
        file=str(value["file"]),
        sha256=str(value["sha256"]),
        size=int(value["size"]),
        has_logits=bool(value["has_logits"]),
        metadata={str(k): str(v) for k, v in dict(value["metadata"]).items()},
    )
    if entry.key != key or entry.file != f"{key}.{entry.sha256}.safetensors":
        raise ValueError(f"it is of {entry.key!r} and names {entry.file!r}")
    return entry
