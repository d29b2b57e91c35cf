"""Sets of many ids in little memory: 16 bytes each, as sorted arrays of hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_RECENT = 8192


def digest(*parts: str | int) -> bytes:
    """16 bytes that stand for some values; others get the same with a chance of 2^-128."""
    text = "\0".join(map(str, parts))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class DigestSet:
    """A set of digests that only grows. Reading is safe from several threads; adding is not."""

    def __init__(self, digests: Iterable[bytes] = ()) -> None:
        self._recent: set[bytes] = set()
        self._sorted: list[NDArray[np.uint64]] = []  # [n, 2], by the first column
        for value in digests:
            self.add(value)

    def add(self, value: bytes) -> bool:
        """Add a digest; returns whether it is new."""
        if value in self:
            return False
        self._recent.add(value)
        if len(self._recent) >= _RECENT:
            self._settle()
        return True

    def __contains__(self, value: bytes) -> bool:
        """Whether a digest was added."""
        if value in self._recent:
            return True
        first, second = np.frombuffer(value, np.uint64)
        for run in self._sorted:
            at = int(np.searchsorted(run[:, 0], first))
            while at < len(run) and run[at, 0] == first:
                if run[at, 1] == second:
                    return True
                at += 1
        return False

    def __len__(self) -> int:
        """How many."""
        return len(self._recent) + sum(map(len, self._sorted))

    def _settle(self) -> None:
        """Move the recent ones into the sorted arrays, each at least twice as long as the next."""
        run = np.frombuffer(b"".join(self._recent), np.uint64).reshape(-1, 2)
        self._recent = set()
        while self._sorted and len(self._sorted[-1]) < 2 * len(run):
            run = np.concatenate([self._sorted.pop(), run])
        self._sorted.append(run[np.argsort(run[:, 0])])


class Folders:
    """The folders that ids lie in: whatever comes before a slash in one of them."""

    def __init__(self) -> None:
        self._digests = DigestSet()
        self._last = ""

    def add_those_of(self, identity: str) -> None:
        """Add the folder of an id, and those above it."""
        folder = identity.rpartition("/")[0]
        if folder == self._last:  # mostly one after the other
            return
        self._last = folder
        while folder and self._digests.add(digest(folder)):
            folder = folder.rpartition("/")[0]

    def __contains__(self, value: bytes) -> bool:
        """Whether the digest of an id is that of such a folder."""
        return value in self._digests
