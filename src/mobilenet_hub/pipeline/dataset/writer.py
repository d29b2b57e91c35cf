"""A dataset in the making: results go in, parts come out, and a cut-off run is taken up again.

    OUT/part-00000.parquet ...   rows: see `parquet.Layout`
    OUT/_errors.jsonl            one line for each item that failed: id, stage, reason
    OUT/_manifest/               see `manifest`

A run that is one of n (`--shard i/n`) names its parts `part-00003-of-00016-00000.parquet`, its
errors `_errors-00003-of-00016.jsonl`, and touches no others: the shards may share one folder, or be
copied into one afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import DatasetError
from mobilenet_hub.files import remove_leftovers
from mobilenet_hub.pipeline.dataset.id_sets import DigestSet, Folders, digest
from mobilenet_hub.pipeline.dataset.manifest import (
    FOLDER,
    SETTINGS,
    Done,
    Manifest,
    locked,
    superseded,
)
from mobilenet_hub.pipeline.dataset.parquet import (
    Layout,
    OpenPart,
    PartName,
    parquet_file,
    part_names,
    read_parts,
    readable,
    row_count,
)
from mobilenet_hub.pipeline.results import Outcome, Results

Shard = tuple[int, int]
PART_ITEMS = 10_000


class DatasetWriter:
    """Writes a dataset; use as a context manager, which holds its lock.

    Args:
        folder: where it is, or will be.
        layout: of its rows; how they are made may not change from run to run.
        part_items: how many items a part is for, failed ones counted.
        shard: which of how many runs this is.
        restart: begin anew whatever is there.
        find_moved: called when the lock is held: which parts' rows were moved out of the folder,
            into a single file, and need not be there.

    Attributes:
        done: which items need no work.
        errors_path: where its failures are listed unless told otherwise.
        kept: how many rows stay though their items could not be had lately; set by `finish`.
        changed: whether this run wrote or removed anything of the dataset.

    Raises:
        DatasetError: on entering: another run is at it, it has other settings, or the folder holds
            something else.
    """

    def __init__(
        self,
        folder: Path,
        layout: Layout,
        *,
        part_items: int = PART_ITEMS,
        shard: Shard = (0, 1),
        restart: bool = False,
        find_moved: Callable[[], frozenset[PartName]] = frozenset,
    ) -> None:
        self.folder = folder
        self.manifest = Manifest(folder)
        self.kept = 0
        self.changed = False
        self.done = Done(content_hash=layout.settings.content_hash)
        self.layout = layout
        self._shard, self._shards = shard
        self._settings = {**layout.metadata, "shards": self._shards}
        self._part_items = part_items
        self._restart = restart
        self._find_moved = find_moved
        self._moved: frozenset[PartName] = frozenset()
        self._middle = "" if self._shards == 1 else f"-{self._shard:05d}-of-{self._shards:05d}"
        self.errors_path = folder / f"_errors{self._middle}.jsonl"
        self._lock = f".run{self._middle}.lock"
        self._begun = False
        self._found = DigestSet()  # of the unsure ones, those found in this run as they were before
        self._folders = Folders()  # of the ids in the manifests
        self._entered = Folders()  # of the ids of this run
        self._unlisted_now: set[bytes] = set()  # ids of those not listed, in this run
        self._next = 0
        self._part: OpenPart | None = None
        self._held = ExitStack()

    def parts(self) -> list[PartName]:
        """Names of this run's parts that count, in order."""
        return [part for part in part_names(self.manifest.folder) if self._is_own(part)]

    def __enter__(self) -> DatasetWriter:
        """Take the lock, check the settings, see what is there."""
        self._refuse_other_folders()
        with ExitStack() as stack:
            stack.enter_context(locked(self.manifest.folder, self._lock))
            stack.callback(self._leave_nothing_empty)
            self._moved = self._find_moved()
            if not self._restart or self._has_other_shards():
                self.manifest.check_settings(self._settings)
            if self._restart:
                self._remove_old()
            self._clean()
            self._load()
            if self._repeated:  # cut off after a changed item was written and before its old row
                self._drop_superseded()  # was taken out
            self._held = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        """Give up a part that was not committed; give the lock back."""
        with self._held:
            if self._part is not None:
                self._part.drop()

    def add(self, results: Results) -> None:
        """Append results.

        Raises:
            OSError: they cannot be written; what was committed before stays.
        """
        for identity in map(digest, results.skipped) if self._unsure else ():
            if identity in self._unsure:
                self._found.add(identity)
                self._repeated = True
        if self._unlisted:
            for outcome in results.outcomes:
                if outcome.stage == "list":
                    self._unlisted_now.add(digest(outcome.id))
            for item_id in (*results.skipped, *(outcome.id for outcome in results.outcomes)):
                self._entered.add_those_of(item_id)
        while results.outcomes:
            if self._part is None:
                name = PartName(self._shards, self._shard, self._next)
                self._part = OpenPart(name, name.file(self.folder), self.layout)
            head, results = results.split(self._part_items - len(self._part.outcomes))
            self._part.add(head)
            if len(self._part.outcomes) >= self._part_items:
                self.commit()

    def commit(self) -> None:
        """Make the open part count, as short as it is; the dataset is begun now, if it was not.

        Raises:
            OSError: it cannot be written; what was committed before stays.
        """
        if not self._begun:  # the settings are noted before anything that was made with them
            self.manifest.begin(self._settings)
            self._begun = True
        part = self._part
        if part is None:
            return
        part.file.close()
        self.manifest.write(part.name, part.outcomes)
        self.changed = True
        self._next += 1
        if self._known:
            self._repeated |= any(digest(outcome.id) in self._known for outcome in part.outcomes)
        self._part = None

    def finish(self, *, whole: bool = True) -> None:
        """Commit what is open, drop rows that were made again.

        Args:
            whole: whether the source was gone through to its end. Then a folder or archive that
                could not be listed before, and of which there were items now, is no failure.

        Raises:
            OSError: something cannot be written.
        """
        self.commit()
        for folder in self._unlisted - self._unlisted_now if whole else ():
            if folder in self._entered:
                self._found.add(folder)
                self._repeated = True
        if self._repeated:
            self._drop_superseded()
        if self._repeated:  # there are rows beside failures
            ids = {digest(line.id) for line in self.failures() if line.stamp is None}
            self.kept = sum(
                not line.failed and digest(line.id) in ids
                for part in self.parts()
                for line in self.manifest.outcomes(part)
            )

    def may_hide_others(self, outcome: Outcome) -> bool:
        """Whether an item that failed may be a folder or archive whose items have rows here."""
        if outcome.stage == "list":
            return True
        return outcome.failed and outcome.stamp is None and digest(outcome.id) in self._folders

    def keep_only(self, ids: DigestSet) -> int:
        """Take out all lines, and their rows, of items that are not among some.

        Args:
            ids: digests of the ids that stay.

        Returns:
            How many rows were taken out.

        Raises:
            OSError: something cannot be written.
        """
        before, _ = self.counts()
        masks = {
            part: np.array([digest(line.id) in ids for line in self.manifest.outcomes(part)], bool)
            for part in self.parts()
        }
        self._filter({part: mask for part, mask in masks.items() if not mask.all()})
        return before - self.counts()[0]

    def failures(self) -> Iterator[Outcome]:
        """All items that failed, in this run and before."""
        for part in self.parts():
            yield from self.manifest.outcomes(part, failed_only=True)

    def counts(self) -> tuple[int, int]:
        """How many rows and how many failures there are, in this run and before."""
        counted = [self.manifest.counts(part) for part in self.parts()]
        return sum(rows for rows, _ in counted), sum(failures for _, failures in counted)

    def batches(self) -> Iterator[Any]:
        """All rows that are in the folder, as Arrow record batches."""
        files = (part.file(self.folder) for part in self.parts())
        return read_parts([file for file in files if file.exists()])

    def remove_rows(self, parts: Iterable[PartName]) -> None:
        """Remove the rows of parts, which are elsewhere now."""
        for part in parts:
            part.file(self.folder).unlink(missing_ok=True)

    def _is_own(self, part: PartName) -> bool:
        return (part.shard, part.shards) == (self._shard, self._shards)

    def _refuse_other_folders(self) -> None:
        """Never write into, or clear, a folder that is something else."""
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise DatasetError(f"expected a folder for a dataset. Received: {str(self.folder)!r}")
        begun = (self.folder / FOLDER).is_dir()
        if not begun and next(self.folder.iterdir(), None) is not None:
            raise DatasetError(
                "the output folder holds files that are not a dataset of this library; choose "
                f"another. Received: {str(self.folder)!r}"
            )

    def _leave_nothing_empty(self) -> None:
        """Leave no folder in which nothing was begun: another run may have other settings."""
        if (self.manifest.folder / SETTINGS).exists():
            return
        (self.manifest.folder / self._lock).unlink(missing_ok=True)
        with suppress(OSError):  # there is something else in it: another shard
            self.manifest.folder.rmdir()
            self.folder.rmdir()

    def _remove_old(self) -> None:
        """Remove this run's parts, and those of runs that were divided in another way."""
        for folder in (self.manifest.folder, self.folder):
            for part in part_names(folder):
                if self._is_own(part) or part.shards != self._shards:
                    part.file(folder).unlink(missing_ok=True)
        if not self._has_other_shards():
            (self.manifest.folder / SETTINGS).unlink(missing_ok=True)

    def _has_other_shards(self) -> bool:
        """Whether there are shards beside this one, which its settings must be those of."""
        found = part_names(self.manifest.folder)
        return any(part.shards == self._shards and not self._is_own(part) for part in found)

    def _clean(self) -> None:
        """Remove what a killed run left: beginnings of files, and parts that do not count."""
        part = rf"part{self._middle}-\d+\.parquet"
        of_rows = re.compile(rf"{part}|_errors{self._middle}\.jsonl")
        of_manifests = re.compile(rf"{part}|(settings|packed)\.json")
        remove_leftovers(self.folder, of_rows.fullmatch)
        remove_leftovers(self.manifest.folder, of_manifests.fullmatch)
        for name in self.parts():
            self._mend(name)
        counting = {*self.parts()} - self._moved
        for name in part_names(self.folder):
            if self._is_own(name) and name not in counting:
                name.file(self.folder).unlink()

    def _mend(self, part: PartName) -> None:
        """Let no line count whose row is gone, nor any of a manifest that cannot be read.

        So it is where a run was killed between taking rows out of a part and out of its manifest,
        or where a file was lost or damaged: those items are done again.
        """
        counts = readable(lambda: self.manifest.counts(part))
        if counts is None:
            self.manifest.remove(part)
            self.changed = True
            return
        rows, path = counts[0], part.file(self.folder)
        there = readable(lambda: row_count(path, self.layout.schema()))
        if part in self._moved or there == rows or rows == 0:
            return
        lines = [*self.manifest.outcomes(part)]
        left = there and readable(
            lambda: {i for batch in read_parts([path], ["id"]) for i in batch["id"].to_pylist()}
        )
        kept = [line for line in lines if line.failed or (left and line.id in left)]
        if not left or len(left) != sum(not line.failed for line in kept):
            path.unlink(missing_ok=True)
            kept = [line for line in lines if line.failed]
        self.manifest.write(part, kept)
        self.changed = True

    def _load(self) -> None:
        """Read the manifests."""
        self.done.keys = DigestSet()
        self._known = DigestSet()  # ids of all lines in the manifests
        self._unsure = DigestSet()  # ids of items that could not be had
        self._unlisted: set[bytes] = set()  # ids of folders and archives that could not be listed
        self._repeated = False  # whether an id has more than one line
        for part in self.parts():
            self._next = part.number + 1
            for line in self.manifest.outcomes(part):
                identity = digest(line.id)
                self._repeated |= not self._known.add(identity)
                self.done.add(line)
                self._folders.add_those_of(line.id)
                if line.stamp is None:
                    self._unsure.add(identity)
                if line.stage == "list":
                    self._unlisted.add(identity)

    def _drop_superseded(self) -> None:
        """Take out all lines, and their rows, whose items were dealt with again later."""
        self._filter(superseded(self.manifest, self.parts(), self._found))

    def _filter(self, masks: Mapping[PartName, NDArray[np.bool_]]) -> None:
        """Take out some lines of some parts, and their rows."""
        import pyarrow as pa

        for part, counts in masks.items():
            lines = list(zip(counts, self.manifest.outcomes(part), strict=True))
            self._rewrite(part, pa.array([counts for counts, line in lines if not line.failed]))
            self.manifest.write(part, [line for counts, line in lines if counts])
        self.changed |= bool(masks)
        self._load()

    def _rewrite(self, part: PartName, keep: Any) -> None:
        """Keep some rows of a part."""
        path, start = part.file(self.folder), 0
        if not path.exists() or all(keep.to_pylist()):
            return
        with parquet_file(path, self.layout.schema()) as append:
            for batch in read_parts([path]):
                append(batch.filter(keep.slice(start, batch.num_rows)))
                start += batch.num_rows
