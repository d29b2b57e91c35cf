"""Which photos belong together and must be on one side: copies, near copies, groups.

Near copies are found as `duplicates` finds them: by the perceptual hash, which sees a picture again
in any size and quality, and by the cosine of features, which sees crops and bursts
(benchmarks/README.md, Duplicates). What is tied to the same photo is tied together.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.pipeline.outputs import l2_normalized
from mobilenet_hub.pipeline.perceptual_hash import as_unit_vectors
from mobilenet_hub.retraining.cores import all_cores
from mobilenet_hub.retraining.data.features import Photos

NEAR_HASH = 0.75  # least similarity of two hashes, the default of `duplicates`
NEAR_COSINE = 0.95  # least cosine of two features, likewise
_BLOCK = 2048
_ROUNDING = 2e-6  # of a float32 product of equal unit vectors


@dataclass(frozen=True, slots=True)
class Tie:
    """Two photos that belong together, by their rows, and why."""

    row: int
    other: int
    reason: str
    similarity: float


class Ties:
    """What ties photos to each other.

    Args:
        photos: their contents, hashes and features.
        groups: a name for each photo, equal for those that belong together; empty for none. None
            where nobody said.
        on_block: told how many of how many blocks of photos have been compared with all others.
    """

    def __init__(
        self,
        photos: Photos,
        groups: Sequence[str] | None = None,
        on_block: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self._photos = photos
        self._on_block = on_block
        self._content = _numbered(photos.digests)
        self._groups = None if groups is None else _numbered(groups, unless="")

    @cached_property
    def components(self) -> NDArray[np.intp]:
        """For each photo the first row of those that it is tied to, directly or through others.

        Every two photos are compared, in blocks: memory grows with the photos, time with their
        square (2,936 photos: a fifth of a second; 100,000: minutes).
        """
        roots = np.arange(len(self._content))
        _unite(roots, *_chains(self._content))
        if self._groups is not None:
            _unite(roots, *_chains(self._groups))
        starts = range(0, len(roots), _BLOCK)
        with all_cores() as pool:
            for done, (rows, others) in enumerate(pool.map(self._near, starts), 1):
                _unite(roots, rows, others)
                self._on_block(done, len(starts))
        return roots

    def components_without(self, left_out: NDArray[np.bool_]) -> NDArray[np.intp]:
        """`components` where some photos tie nothing: each of these is alone.

        Args:
            left_out: bool [photos].
        """
        rows = np.flatnonzero(~left_out)
        others = Ties(self._photos.only(rows), on_block=self._on_block)
        others._groups = None if self._groups is None else self._groups[rows]
        roots = np.arange(len(left_out))
        roots[rows] = rows[others.components]
        return roots

    def among(self, rows: NDArray[np.intp]) -> list[Tie]:
        """The ties between each two of some photos, most alike first."""
        subset = self._photos.only(rows)
        features, hashes = l2_normalized(subset.features), as_unit_vectors(subset.hashes)
        found = []
        for start in range(0, len(rows), _BLOCK):
            block = slice(start, start + _BLOCK)
            by_hash, by_cosine = hashes[block] @ hashes.T, features[block] @ features.T
            ties = _is_near(by_hash, by_cosine)
            same = self._content[rows[block], None] == self._content[rows]
            together = np.zeros_like(same)
            if self._groups is not None:
                groups = self._groups[rows]
                together = (groups[block, None] == groups) & (groups[block, None] >= 0)
            for at, other in np.argwhere(ties | same | together).tolist():
                if start + at >= other:
                    continue
                reason = "copy" if same[at, other] else "near copy" if ties[at, other] else "group"
                likeness = max(float(by_hash[at, other]), float(by_cosine[at, other]))
                found.append(
                    Tie(int(rows[start + at]), int(rows[other]), reason, min(likeness, 1.0))
                )
        return sorted(found, key=lambda tie: (-tie.similarity, tie.row, tie.other))

    def _near(self, start: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Pairs of near copies, by their rows: of a block of rows and all that follow."""
        total = len(self._content)
        features, hashes = self._unit(start)
        rows, others = [], []
        for other in range(start, total, _BLOCK):
            of_others = (features, hashes) if other == start else self._unit(other)
            at, to = np.nonzero(_is_near(hashes @ of_others[1].T, features @ of_others[0].T))
            rows.append(at + start)
            others.append(to + other)
        return np.concatenate(rows), np.concatenate(others)

    def _unit(self, start: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        part, photos = slice(start, start + _BLOCK), self._photos
        return l2_normalized(photos.features[part]), as_unit_vectors(photos.hashes[part])


def _is_near(by_hash: NDArray[np.float32], by_cosine: NDArray[np.float32]) -> NDArray[np.bool_]:
    near: NDArray[np.bool_] = by_hash >= NEAR_HASH - _ROUNDING
    near |= by_cosine >= NEAR_COSINE - _ROUNDING
    return near


def _numbered(values: Sequence[Hashable], unless: Hashable = None) -> NDArray[np.int64]:
    """A number for each value, equal for equal ones; -1 for `unless`."""
    numbers: dict[Hashable, int] = {}
    return np.array(
        [-1 if v == unless else numbers.setdefault(v, len(numbers)) for v in values], np.int64
    )


def _chains(numbers: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Each row and the next of the same number."""
    order = np.argsort(numbers, kind="stable")
    same = (numbers[order][1:] == numbers[order][:-1]) & (numbers[order][1:] >= 0)
    return order[:-1][same], order[1:][same]


def _unite(roots: NDArray[np.intp], a: NDArray[np.intp], b: NDArray[np.intp]) -> None:
    """Give all that is connected with each other the least row of it as root, in place."""
    while len(a):
        first, second = roots[a], roots[b]
        differ = first != second
        a, b = a[differ], b[differ]
        low = np.minimum(first[differ], second[differ])
        high = np.maximum(first[differ], second[differ])
        np.minimum.at(roots, high, low)
        while not np.array_equal(further := roots[roots], roots):
            roots[:] = further
