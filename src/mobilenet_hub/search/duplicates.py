"""Groups of images that are nearly the same.

Images are taken in the order of the dataset. One that is at least as similar as the threshold to
the first image of a group joins the most similar such group; any other begins a group. So each
member is that similar to the image that would be kept, and results do not depend on chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import InputError
from mobilenet_hub.runtime import available_threads
from mobilenet_hub.search.index import new_index
from mobilenet_hub.search.queries import Match
from mobilenet_hub.search.vectors import HASHES, column_names, unit_rows

# Up to so many first images, every one is compared with; beyond, those that an index finds, which
# misses about one neighbour in a thousand and takes time that grows little more than linearly.
EXACT_LIMIT = 32_768
_BLOCK = 4096
_ROUNDING = 2e-6  # of a float32 product of equal unit vectors: exact copies are 1 all the same


By = Literal["hash", "embedding"]
_THRESHOLDS: dict[By, float] = {"hash": 0.75, "embedding": 0.95}


@dataclass(frozen=True, slots=True)
class Group:
    """Images that are nearly the same.

    Attributes:
        first: id of the first of them in the dataset.
        others: the others, in the order of the dataset, with their similarity to the first.
    """

    first: str
    others: tuple[Match, ...]


def find_duplicates(
    dataset: str | Path, *, by: By | None = None, threshold: float | None = None
) -> list[Group]:
    """Groups of two or more nearly equal images.

    ```python
    hub.embed_to("photos/", "features", perceptual_hash=True)
    for group in hub.search.find_duplicates("features"):
        print(group.first, [match.id for match in group.others])
    ```

    Args:
        dataset: a folder or file that `embed` wrote.
        by: `hash`: copies of a picture, in any size, format and quality (not crops or mirrored
            ones), by the hashes of `embed --perceptual-hash`; similarity is 1 − 2 · (share of bits
            that differ). `embedding`: what looks alike, other shots of the same thing too, by the
            cosine of embeddings. By default by hash where the dataset has hashes.
        threshold: least similarity, above 0 and at most 1; by default 0.75 for hashes and 0.95 for
            embeddings (what these find: benchmarks/README.md).

    Returns:
        Groups in the order of their first images.

    Raises:
        InputError: a threshold out of range.
        DatasetError: not a dataset of embeddings.
        MissingExtraError: more than `EXACT_LIMIT` different images, and usearch is not installed.
    """
    dataset = Path(dataset)
    by = by or ("hash" if HASHES in column_names(dataset) else "embedding")
    if by not in get_args(By):
        raise InputError(f"by must be one of {get_args(By)}. Received: {by!r}")
    threshold = _THRESHOLDS[by] if threshold is None else threshold
    if not 0 < threshold <= 1:
        raise InputError(f"threshold must be above 0 and at most 1. Received: {threshold}")
    column = HASHES if by == "hash" else "embedding"
    assignments = list(_assign((vectors for _, vectors in unit_rows(dataset, column)), threshold))
    if not assignments:
        return []
    first = np.concatenate([rows for rows, _ in assignments])
    similarity = np.concatenate([values for _, values in assignments])
    wanted = first != np.arange(len(first))
    wanted[first[wanted]] = True  # and the first images of their groups
    return list(_named(dataset, column, first, similarity, wanted))


def _named(
    dataset: Path,
    column: str,
    first: NDArray[np.int64],
    similarity: NDArray[np.float32],
    wanted: NDArray[np.bool_],
) -> Iterator[Group]:
    """Groups by their ids, which are read only now, and only those needed kept."""
    ids = (identity for batch, _ in unit_rows(dataset, column) for identity in batch)
    names = {row: identity for row, identity in enumerate(ids) if wanted[row]}
    members: dict[int, list[Match]] = {}
    for at in np.flatnonzero(wanted).tolist():
        leader = int(first[at])
        if leader == at:
            members[at] = []
        else:
            members[leader].append(Match(names[at], float(similarity[at])))
    for leader, others in members.items():
        yield Group(names[leader], tuple(others))


def _assign(
    batches: Iterator[NDArray[np.float32]], threshold: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """For each row, the first row of its group (maybe itself), and how similar it is to that."""
    leaders: _Leaders | None = None
    start = 0
    for batch in batches:
        if leaders is None:
            leaders = _Leaders(batch.shape[1])
        rows, similarities = leaders.most_similar(batch)
        within = batch @ batch.T
        new: list[int] = []
        for at in range(len(batch)):
            if new:
                best = int(np.argmax(within[at, new]))
                if within[at, new[best]] > similarities[at]:
                    rows[at], similarities[at] = start + new[best], within[at, new[best]]
            if similarities[at] < threshold - _ROUNDING:
                rows[at], similarities[at] = start + at, 1.0
                new.append(at)
        leaders.add(np.asarray(new, np.int64) + start, batch[new])
        start += len(batch)
        yield rows, similarities


class _Leaders:
    """The first images of all groups so far."""

    def __init__(self, features: int) -> None:
        self._rows = np.empty(0, np.int64)
        self._vectors = np.empty((0, features), np.float32)
        self._index: Any = None

    def add(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Take up the first images of new groups, with their rows in the dataset."""
        if self._index is None:
            rows = np.concatenate([self._rows, rows])
            vectors = np.concatenate([self._vectors, vectors])
            if len(rows) <= EXACT_LIMIT:
                self._rows, self._vectors = rows, vectors
                return
            self._index = new_index(vectors.shape[1], "f32")
            self._vectors = self._vectors[:0]
        self._index.add(rows, vectors, threads=available_threads())

    def most_similar(
        self, vectors: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """For each vector, the row of the most similar first image, and how similar that is."""
        rows = np.full(len(vectors), -1, np.int64)
        best = np.full(len(vectors), -np.inf, np.float32)
        if self._index is not None:
            found = self._index.search(vectors, 1, threads=available_threads())
            return found.keys[:, 0].astype(np.int64), 1 - found.distances[:, 0].astype(np.float32)
        for start in range(0, len(self._rows), _BLOCK):
            similar = vectors @ self._vectors[start : start + _BLOCK].T
            at = similar.argmax(axis=1)
            value = similar[np.arange(len(vectors)), at]
            better = value > best
            rows[better] = self._rows[start + at[better]]
            best[better] = value[better]
        return rows, best
