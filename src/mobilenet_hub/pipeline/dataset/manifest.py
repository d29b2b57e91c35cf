"""What a dataset already holds, on disk, so that a run can go on where another was cut off.

Beside the parts of a dataset lies the folder `_manifest` (readers of Parquet datasets ignore names
that begin so):

- `settings.json`: how the embeddings are made. A run with other settings is refused.
- `<part>.parquet` for each part: one line an item, with its id, its stamp (size and time of
  modification, and content hash where asked for), and stage and reason if it failed.

A part counts once its manifest is there, and that is written after the part itself, both by
renaming: whatever the instant at which a run is killed, each part either counts or is made again.
Rows are taken out of a part in the same order: where a run is killed in between, the lines whose
rows are gone count no more (`DatasetWriter` compares the two when it begins).

A line without a stamp says that the item could not be had. Such a line never takes away a row that
the item has from before; the next run tries again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from mobilenet_hub.errors import DatasetError
from mobilenet_hub.files import read_json, write_atomically
from mobilenet_hub.pipeline.dataset.id_sets import DigestSet, digest
from mobilenet_hub.pipeline.dataset.parquet import PartName, parquet_file, read_parts, row_count
from mobilenet_hub.pipeline.results import Outcome
from mobilenet_hub.pipeline.sources.items import Stamp
from mobilenet_hub.settings import Settings

FOLDER = "_manifest"
SETTINGS = "settings.json"
FORMAT = "mobilenet-hub-dataset/1"

# What is noted but may differ from run to run.
_NOT_COMPARED = ("library_version", "verification")


def _key(identity: str, stamp: Stamp | None, sha256: str) -> bytes | None:
    """What an item must be like for its line to count; None to always try it again."""
    if stamp is None:
        return None
    return digest(identity, sha256) if sha256 else digest(identity, *map(_clamped, stamp))


def _clamped(number: int) -> int:
    """The nearest that a column holds: times of modification may lie before 1678 or after 2262."""
    return max(-(2**63), min(number, 2**63 - 1))


@cache
def _schema() -> Any:
    """Of a manifest: see above."""
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    fields = {"size": number, "mtime_ns": number, "sha256": text, "stage": text, "reason": text}
    return pa.schema([pa.field("id", text, nullable=False), *fields.items()])


@dataclass(slots=True)
class Done:
    """Which items need no more work. Pickles, for workers in other processes.

    Attributes:
        content_hash: whether items are told by what is in them, not by size and time.
        keys: digests of what they must be like.
    """

    content_hash: bool = False
    keys: DigestSet = field(default_factory=DigestSet)

    def add(self, outcome: Outcome) -> None:
        """Note an item that was dealt with."""
        if (key := _key(outcome.id, outcome.stamp, outcome.sha256)) is not None:
            self.keys.add(key)

    def __bool__(self) -> bool:
        """Whether anything was dealt with at all: if not, nobody need ask."""
        return len(self.keys) > 0

    def __call__(self, identity: str, stamp: Stamp | None, sha256: str) -> bool:
        """Whether an item was dealt with and has not changed since."""
        key = _key(identity, stamp, sha256 if self.content_hash else "")
        return key is not None and key in self.keys


class Manifest:
    """The manifests in a folder.

    Args:
        folder: the dataset's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER

    def outcomes(self, part: PartName, *, failed_only: bool = False) -> Iterator[Outcome]:
        """The lines of a part, in order."""
        for batch in read_parts([part.file(self.folder)]):
            chosen = batch.filter(batch.column("stage").is_valid()) if failed_only else batch
            for line in chosen.to_pylist():
                known = line["size"] is not None
                stamp = Stamp(line["size"], line["mtime_ns"]) if known else None
                yield Outcome(
                    line["id"], "", stamp, line["sha256"] or "",
                    stage=line["stage"], reason=line["reason"] or "",
                )  # fmt: skip

    def write(self, part: PartName, outcomes: list[Outcome]) -> None:
        """Make a part count. Its rows must be on disk.

        Raises:
            OSError: it cannot be written.
        """
        import pyarrow as pa

        lines = [
            {
                "id": outcome.id,
                "size": outcome.stamp and _clamped(outcome.stamp.size),
                "mtime_ns": outcome.stamp and _clamped(outcome.stamp.mtime_ns),
                "sha256": outcome.sha256 or None,
                "stage": outcome.stage,
                "reason": outcome.reason or None,
            }
            for outcome in outcomes
        ]
        self.folder.mkdir(exist_ok=True)
        with parquet_file(part.file(self.folder), _schema()) as append:
            append(pa.RecordBatch.from_pylist(lines, _schema()))

    def remove(self, part: PartName) -> None:
        """Make a part count no longer."""
        part.file(self.folder).unlink(missing_ok=True)

    def counts(self, part: PartName) -> tuple[int, int]:
        """How many rows a part must have, and how many of its items failed.

        Raises:
            DatasetError: its manifest is damaged, or something else.
        """
        path = part.file(self.folder)
        lines = row_count(path, _schema())
        rows = sum(batch.column(0).null_count for batch in read_parts([path], ["stage"]))
        return rows, lines - rows

    def read_settings(self) -> dict[str, Any] | None:
        """The settings of the dataset, defaults where it says nothing; None if it is not begun.

        Raises:
            DatasetError: they cannot be read.
        """
        path = self.folder / SETTINGS
        try:
            with path.open("rb") as file:
                settings = read_json(file)
            if not isinstance(settings, dict) or settings.pop("format", None) != FORMAT:
                raise ValueError(f"expected the format {FORMAT}")
            complete = {**Settings.from_dict(settings).to_dict(), **settings}
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise DatasetError(
                f"the settings of this dataset cannot be read ({error}); --restart makes it anew. "
                f"Received: {str(path)!r}"
            ) from error
        return complete

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Note the settings of a dataset that is not begun.

        Raises:
            DatasetError: it was begun meanwhile (by another shard) with others.
        """
        if self.read_settings() is not None:
            self.check_settings(settings)
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": FORMAT, **settings}, indent=2, sort_keys=True)
        write_atomically(self.folder / SETTINGS, f"{text}\n".encode())

    def check_settings(self, wanted: Mapping[str, Any]) -> None:
        """Refuse to go on with other settings than those the dataset was begun with.

        Raises:
            DatasetError: says which changed.
        """
        if (found := self.read_settings()) is None:
            return
        before, after = json.loads(json.dumps([found, dict(wanted)]))
        names = sorted({*before, *after} - set(_NOT_COMPARED))
        changed = [name for name in names if before.get(name) != after.get(name)]
        if changed:
            had = ", ".join(f"{name} {before.get(name)!r}" for name in changed)
            has = ", ".join(f"{name} {after.get(name)!r}" for name in changed)
            raise DatasetError(
                f"this dataset was made with other settings: {had}. Use those, choose another "
                f"--output, or make it anew with --restart. Received: {has}"
            )


def superseded(
    manifest: Manifest, parts: list[PartName], found: DigestSet
) -> dict[PartName, NDArray[np.bool_]]:
    """Lines whose item was dealt with again later.

    A row stays beside a later line that says its item could not be had; and that line goes where
    the item was found as it was before.

    Args:
        manifest: of the dataset.
        parts: which to look at, in order.
        found: digests of the ids of items that were found as they were before.

    Returns:
        For each part that has such lines, whether each of its lines still counts.
    """
    if not parts:
        return {}
    ids, flags = [], []
    for part in parts:
        lines = [(digest(line.id), line) for line in manifest.outcomes(part)]
        ids.append(np.frombuffer(b"".join(i for i, _ in lines), np.uint64).reshape(-1, 2))
        known = [(line.stamp is not None, not line.failed, i not in found) for i, line in lines]
        flags.append(np.array(known, bool).reshape(-1, 3))
    digests, (sure, has_row, missing) = np.concatenate(ids), np.concatenate(flags).T
    counts = _last(digests, sure | missing) | (_last(digests, sure) & has_row)
    masks = dict(zip(parts, np.split(counts, np.cumsum([*map(len, ids)])[:-1]), strict=True))
    return {part: mask for part, mask in masks.items() if not mask.all()}


def _last(digests: NDArray[np.uint64], among: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which lines are the last of their id among some lines."""
    chosen = np.flatnonzero(among)[::-1]  # the last line of an id is the first one found here
    _, first = np.unique(digests[chosen], axis=0, return_index=True)
    last = np.zeros(len(digests), bool)
    last[chosen[first]] = True
    return last


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Only one run at a time writes to a dataset (or to one shard of it).

    Args:
        folder: of the manifests; made where it is not there.
        name: of the file that is locked.

    Raises:
        DatasetError: another one is at it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / name, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise DatasetError(
            f"another run is writing to this dataset. Received: {str(folder.parent)!r}"
        ) from error
    try:
        yield
    finally:
        lock.release()
