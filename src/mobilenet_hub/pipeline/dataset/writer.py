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
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import DatasetError
from mobilenet_hub.files import remove_leftovers
from mobilenet_hub.pipeline.dataset.id_sets import DigestSet, digest
from mobilenet_hub.pipeline.dataset.manifest import (
    FOLDER,
    Done,
    Manifest,
    locked,
    superseded,
)
from mobilenet_hub.pipeline.dataset.parquet import Layout, parquet_file, read_parts, row_count
from mobilenet_hub.pipeline.results import Outcome, Results

Shard = tuple[int, int]
PART_ITEMS = 10_000

_PART = re.compile(r"part-(?:(?P<shard>\d{5})-of-(?P<shards>\d{5})-)?(?P<number>\d{5,})")


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
        find_moved: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        self.folder = folder
        self.manifest = Manifest(folder)
        self.changed = False
        self.done = Done(content_hash=layout.settings.content_hash)
        self.layout = layout
        self._shard = shard
        self._settings = {**layout.metadata, "shards": shard[1]}
        self._part_items = part_items
        self._restart = restart
        self._find_moved = find_moved
        self._moved: frozenset[str] = frozenset()
        self._middle = "" if shard[1] == 1 else f"-{shard[0]:05d}-of-{shard[1]:05d}"
        self._known = DigestSet()  # ids of all lines in the manifests
        self._repeated = False  # whether an id has more than one line
        self._next = 0
        self._part = _OpenPart("", self._part_path(""), layout)
        self._held = ExitStack()

    @property
    def errors_path(self) -> Path:
        """Where its failures are listed unless told otherwise."""
        return self.folder / f"_errors{self._middle}.jsonl"

    def parts(self) -> list[str]:
        """Names of this run's parts that count, in order."""
        return [part for part in self.manifest.parts() if self._is_own(part)]

    def __enter__(self) -> DatasetWriter:
        """Take the lock, check the settings, see what is there."""
        self._refuse_other_folders()
        with ExitStack() as stack:
            stack.enter_context(locked(self.manifest.folder, f"run{self._middle}"))
            self._moved = self._find_moved()
            if self._restart:
                if not self._has_other_shards():
                    self.manifest.write_settings(self._settings)
                self.manifest.check_settings(self._settings)
                self._remove_old()
            self.manifest.check_settings(self._settings)
            self._clean()
            self._load()
            if self._repeated:  # cut off after a changed item was written and before its old row
                self._drop_superseded()  # was taken out
            self._held = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        """Give up a part that was not committed; give the lock back."""
        with self._held:
            self._part.drop()

    def add(self, results: Results) -> None:
        """Append results.

        Raises:
            OSError: they cannot be written; what was committed before stays.
        """
        while results.outcomes:
            head, results = results.split(self._part_items - len(self._part.outcomes))
            if not self._part.name:
                name = f"part{self._middle}-{self._next:05d}"
                self._part = _OpenPart(name, self._part_path(name), self.layout)
            self._part.add(head)
            if len(self._part.outcomes) >= self._part_items:
                self.commit()

    def commit(self) -> None:
        """Make the open part count, as short as it is.

        Raises:
            OSError: it cannot be written; what was committed before stays.
        """
        part = self._part
        if not part.outcomes:
            return
        part.close()
        self.manifest.write(part.name, part.outcomes)
        self.changed = True
        self._next += 1
        for outcome in part.outcomes:
            if digest(outcome.id) in self._known:
                self._repeated = True
        self._part = _OpenPart("", self._part_path(""), self.layout)

    def finish(self) -> None:
        """Commit what is open, drop rows that were made again.

        Raises:
            OSError: something cannot be written.
        """
        self.commit()
        if self._repeated:
            self._drop_superseded()

    def keep_only(self, ids: DigestSet) -> None:
        """Take out all lines, and their rows, of items that are not among some.

        Args:
            ids: digests of the ids that stay.

        Raises:
            OSError: something cannot be written.
        """
        masks = {
            part: np.array([digest(line.id) in ids for line in self.manifest.outcomes(part)], bool)
            for part in self.parts()
        }
        self._filter({part: mask for part, mask in masks.items() if not mask.all()})

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
        return read_parts([path for p in self.parts() if (path := self._part_path(p)).exists()])

    def remove_rows(self, parts: frozenset[str]) -> None:
        """Remove the rows of parts, which are elsewhere now."""
        for part in parts:
            self._part_path(part).unlink(missing_ok=True)

    def _part_path(self, part: str) -> Path:
        return self.folder / f"{part}.parquet"

    def _is_own(self, part: str) -> bool:
        match = _PART.fullmatch(part)
        if match is None:
            return False
        if match["shard"] is None:
            return self._shard[1] == 1
        return (int(match["shard"]), int(match["shards"])) == self._shard

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

    def _remove_old(self) -> None:
        """Remove this run's parts, and those of runs that were divided in another way."""
        for folder in (self.manifest.folder, self.folder):
            for path in folder.glob("part-*.parquet"):
                match = _PART.fullmatch(path.stem)
                if match and (self._is_own(path.stem) or self._is_foreign(match)):
                    path.unlink(missing_ok=True)

    def _has_other_shards(self) -> bool:
        """Whether there are shards beside this one, which its settings must be those of."""
        found = (_PART.fullmatch(part) for part in self.manifest.parts() if not self._is_own(part))
        return any(match and not self._is_foreign(match) for match in found)

    def _is_foreign(self, match: re.Match[str]) -> bool:
        return int(match["shards"] or 1) != self._shard[1]

    def _clean(self) -> None:
        """Remove what a killed run left: beginnings of files, and parts that do not count."""
        part = rf"part{self._middle}-\d+\.parquet"
        of_rows = re.compile(rf"{part}|_errors{self._middle}\.jsonl")
        of_manifests = re.compile(rf"{part}|(settings|packed)\.json")
        remove_leftovers(self.folder, of_rows.fullmatch)
        remove_leftovers(self.manifest.folder, of_manifests.fullmatch)
        self.remove_rows(self._moved)
        for name in self.parts():
            if name not in self._moved and not self._is_whole(name):
                self.manifest.remove(name)
                self.changed = True
        counting = set(self.parts())
        for path in self.folder.glob("part-*.parquet"):
            if self._is_own(path.stem) and path.stem not in counting:
                path.unlink()

    def _is_whole(self, part: str) -> bool:
        """Whether a part has the rows that its manifest says."""
        import pyarrow as pa

        rows, _ = self.manifest.counts(part)
        if rows == 0:
            return True
        try:
            return row_count(self._part_path(part)) == rows
        except (FileNotFoundError, pa.ArrowInvalid):
            return False

    def _load(self) -> None:
        """Read the manifests."""
        self.done.keys, self._known, self._repeated = DigestSet(), DigestSet(), False
        for part in self.parts():
            self._next = int(part.rpartition("-")[2]) + 1
            for line in self.manifest.outcomes(part):
                self._repeated |= not self._known.add(digest(line.id))
                self.done.add(line)

    def _drop_superseded(self) -> None:
        """Take out all lines, and their rows, whose items were dealt with again later."""
        self._filter(superseded(self.manifest, self.parts()))

    def _filter(self, masks: Mapping[str, NDArray[np.bool_]]) -> None:
        """Take out some lines of some parts, and their rows."""
        import pyarrow as pa

        for part, counts in masks.items():
            lines = list(zip(counts, self.manifest.outcomes(part), strict=True))
            self._rewrite(part, pa.array([counts for counts, line in lines if not line.failed]))
            self.manifest.write(part, [line for counts, line in lines if counts])
        self.changed |= bool(masks)
        self._load()

    def _rewrite(self, part: str, keep: Any) -> None:
        """Keep some rows of a part."""
        path, start = self._part_path(part), 0
        if not path.exists():
            return
        with parquet_file(path, self.layout.schema()) as append:
            for batch in read_parts([path]):
                append(batch.filter(keep.slice(start, batch.num_rows)))
                start += batch.num_rows


class _OpenPart:
    """The part that is being written; its file is begun with its first row."""

    def __init__(self, name: str, path: Path, layout: Layout) -> None:
        self.name = name
        self.outcomes: list[Outcome] = []
        self._path = path
        self._layout = layout
        self._append: Callable[[Any], None] | None = None
        self._file = ExitStack()

    def add(self, results: Results) -> None:
        """Append results."""
        self.outcomes += results.outcomes
        if len(results.features) == 0:
            return
        if self._append is None:
            file = parquet_file(self._path, self._layout.schema())
            self._append = self._file.enter_context(file)
        self._append(self._layout.batch(results))

    def close(self) -> None:
        """Finish the file: it is in its place now."""
        self._file.close()

    def drop(self) -> None:
        """Give up the file."""
        given_up = GeneratorExit()
        self._file.__exit__(GeneratorExit, given_up, None)
