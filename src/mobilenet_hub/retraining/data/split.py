"""Which photos are learned from, chosen by, and measured with: by their content, once and for all.

A photo's side follows from the hash of its bytes, so it does not change with its name, its class or
its neighbours; what is tied together (`ties`) goes together. Where the hashes of a class give a
side far too few or too many, those nearest to the border are moved. What an earlier split says
always wins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.evaluation.split_file import Side
from mobilenet_hub.retraining.data.ties import Tie, Ties
from mobilenet_hub.retraining.records import Data

LEAST_TEST_PHOTOS = 100  # fewer measure nothing: 95 of 100 right is anything from 89 to 98 %
_SLACK = 0.5  # how far the share of a class may be from what is wanted, as a part of it

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """A decided split.

    Attributes:
        sides: of each photo; None for those left out.
        leaks: ties across the sides of a split that was given, and is not changed.
    """

    sides: list[Side | None]
    leaks: list[Tie]

    @property
    def left_out(self) -> Rows:
        """Photos that tie two sides of an earlier split together."""
        return np.array([row for row, side in enumerate(self.sides) if side is None], np.intp)


def decide_sides(
    data: Data,
    digests: Sequence[bytes],
    ties: Ties,
    earlier: Mapping[bytes, Side],
    *,
    validation_share: float,
    test_share: float,
) -> Split:
    """The side of each photo.

    Args:
        data: the photos; a split that it brings is kept, and its leaks are found.
        digests: the sha256 of each.
        ties: between them.
        earlier: sides of an earlier run, by sha256.
        validation_share: of the photos.
        test_share: likewise. Where that would be fewer than `LEAST_TEST_PHOTOS`, there is no test
            side, and its share is added to the validation side.
    """
    components = ties.components
    if data.sides is not None:
        return Split(list(data.sides), _leaks(data.sides, components, ties))
    known: list[Side | None] = [earlier.get(digest) for digest in digests]
    sides = list(known)
    left_out: set[int] = set()
    for rows in _groups(components):
        settled = {known[row] for row in rows} - {None}
        if len(settled) == 1:
            (side,) = settled
            for row in rows:
                sides[row] = side
        elif settled:
            left_out |= _place_between(rows, ties.among(np.array(rows)), sides)
    for test in (test_share, 0.0):
        tried = _assign(data, digests, components, sides, left_out, validation_share, test)
        if tried.count("test") >= LEAST_TEST_PHOTOS or test == 0 or "test" in known:
            break
        validation_share += test_share
    return Split(tried, [])


def folds_of(
    classes: NDArray[np.int64], components: Rows, digests: Sequence[bytes], count: int, seed: object
) -> NDArray[np.int64]:
    """The fold of each photo: stratified, and what is tied together in one.

    Args:
        classes: int [photos], what to stratify by (`strata`).
        components: of the ties.
        digests: decide the order, with `seed`.
        count: of folds.
        seed: another one gives another division.
    """
    folds = np.full(len(classes), -1, np.int64)
    filled = [[0] * count for _ in range(int(classes.max(initial=0)) + 1)]
    totals = [0] * count
    units = _units(classes, components, digests, str(seed))
    for unit in sorted(units, key=lambda unit: (unit.stratum, -len(unit.rows), unit.place)):
        here = filled[unit.stratum]
        _, _, at = min(zip(here, totals, range(count), strict=True))
        here[at] += len(unit.rows)
        totals[at] += len(unit.rows)
        folds[unit.rows] = at
    return folds


def strata(data: Data) -> NDArray[np.int64]:
    """What to stratify by: the class; of several labels a photo, the rarest of its own."""
    if not data.multi_label:
        return data.targets
    counts = data.targets.sum(axis=0)
    rarity = np.where(data.targets, counts, np.iinfo(np.int64).max)
    return np.where(data.targets.any(axis=1), rarity.argmin(axis=1), len(data.labels))


@dataclass(frozen=True, slots=True)
class _Unit:
    """Photos that go together.

    Attributes:
        rows: of them.
        stratum: the most common among them.
        place: in [0, 1), from their content.
    """

    rows: list[int]
    stratum: int
    place: float


def _units(
    classes: NDArray[np.int64], components: Rows, digests: Sequence[bytes], salt: str = ""
) -> list[_Unit]:
    units, own = [], classes.tolist()
    for rows in _groups(components):
        least = min(digests[row] for row in rows)
        hashed = hashlib.blake2b(least + salt.encode(), digest_size=8).digest()
        place = int.from_bytes(hashed, "big") / 2**64
        stratum = own[rows[0]] if len(rows) == 1 else int(np.bincount(classes[rows]).argmax())
        units.append(_Unit(rows, stratum, place))
    return units


def _groups(components: Rows) -> list[list[int]]:
    """The rows of each component."""
    groups: dict[int, list[int]] = {}
    for row, root in enumerate(components.tolist()):
        groups.setdefault(root, []).append(row)
    return list(groups.values())


def _assign(
    data: Data,
    digests: Sequence[bytes],
    components: Rows,
    sides: Sequence[Side | None],
    left_out: set[int],
    validation_share: float,
    test_share: float,
) -> list[Side | None]:
    """Sides for those that have none yet."""
    result = list(sides)
    free: dict[int, list[_Unit]] = {}
    classes = strata(data)
    for unit in _units(classes, components, digests):
        if any(sides[row] is None and row not in left_out for row in unit.rows):
            free.setdefault(unit.stratum, []).append(unit)
    for units in free.values():
        units.sort(key=lambda unit: unit.place)
        sizes = [len(unit.rows) for unit in units]
        test = _first(sizes, sum(unit.place < test_share for unit in units), test_share)
        below = sum(unit.place < test_share + validation_share for unit in units)
        wanted = validation_share * sum(sizes) / max(sum(sizes[test:]), 1)
        validation = test + _first(sizes[test:], below - test, wanted)
        for number, unit in enumerate(units):
            side: Side = "test" if number < test else "val" if number < validation else "train"
            for row in unit.rows:
                if result[row] is None and row not in left_out:
                    result[row] = side
    return result


def _first(sizes: Sequence[int], count: int, share: float) -> int:
    """How many of the first units make up a share of the photos.

    Args:
        sizes: photos of each unit; the last is always left.
        count: as their places say: taken unless it is too far from the share.
        share: of the photos.
    """
    ends = np.cumsum(sizes)
    wanted = share * sum(sizes)
    least, most = int((1 - _SLACK) * wanted + 0.5), -int(-(1 + _SLACK) * wanted // 1)
    fewest = int(np.searchsorted(ends, least)) + 1 if least else 0
    greatest = max(fewest, int(np.searchsorted(ends, most, side="right")))
    return max(0, min(max(count, fewest), greatest, len(sizes) - 1))


def _place_between(rows: list[int], ties: list[Tie], sides: list[Side | None]) -> set[int]:
    """New photos of a component that reaches two sides: to the side they are tied to, if one.

    Returns:
        Those that are tied to two, and get none.
    """
    neighbours: dict[int, list[int]] = {row: [] for row in rows}
    for tie in ties:
        neighbours[tie.row].append(tie.other)
        neighbours[tie.other].append(tie.row)
    waiting = [row for row in rows if sides[row] is None]
    left_out: set[int] = set()
    reached = True
    while reached:
        reached = False
        for row in list(waiting):
            found = {sides[other] for other in neighbours[row]} - {None}
            if found:
                waiting.remove(row)
                reached = True
            if len(found) == 1:
                (sides[row],) = found
            elif found:
                left_out.add(row)
    for row in waiting:  # tied to each other alone, once what tied them to a side is left out
        sides[row] = "train"
    return left_out


def _leaks(sides: Sequence[Side], components: Rows, ties: Ties) -> list[Tie]:
    """The most telling tie of each photo that is not learned from to another side."""
    leaks = []
    for rows in _groups(components):
        if len({sides[row] for row in rows}) == 1:
            continue
        told: set[int] = set()
        for tie in ties.among(np.array(rows, np.intp)):
            for row, other in ((tie.row, tie.other), (tie.other, tie.row)):
                if _TRUST[sides[row]] > _TRUST[sides[other]] and row not in told:
                    told.add(row)
                    leaks.append(Tie(row, other, tie.reason, tie.similarity))
    return sorted(leaks, key=lambda leak: leak.row)


_TRUST: dict[Side, int] = {"train": 0, "val": 1, "test": 2}
