"""A dataset in a single file, with all that a folder has: resume, flat memory, no half results.

While `features.parquet` is being made, a dataset grows in the hidden folder
`.features.parquet.parts` beside it. In the end all rows move into the file, and the folder keeps
only the manifests: so that the same command, run again, does only what is missing. Which rows are
in the file is noted, with the file's own stamps, before the file takes its place; so at any instant
either the old note fits the old file, or the new one the new.

Unlike a folder, which one may fill source by source, a file holds what the last run named: rows of
images that are no longer among them are taken out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mobilenet_hub.errors import DatasetError, InputError
from mobilenet_hub.files import read_json, remove_leftovers, write_atomically
from mobilenet_hub.pipeline.dataset import formats
from mobilenet_hub.pipeline.dataset.formats import Stamps
from mobilenet_hub.pipeline.dataset.id_sets import DigestSet, digest
from mobilenet_hub.pipeline.dataset.manifest import FOLDER
from mobilenet_hub.pipeline.dataset.ownership import refuse_other_output
from mobilenet_hub.pipeline.dataset.parquet import Layout, PartName
from mobilenet_hub.pipeline.dataset.writer import DatasetWriter
from mobilenet_hub.pipeline.sources.items import Stamp
from mobilenet_hub.settings import Settings

_NOTE = "packed.json"
_MAX_NOTE_BYTES = 1 << 26  # names a million parts, twice


class _Packed(NamedTuple):
    """What is in a file: the parts whose rows it has, and how many rows."""

    parts: frozenset[PartName] = frozenset()
    rows: int = 0


def work_folder(path: Path) -> Path:
    """Where the dataset of a file grows."""
    return path.with_name(f".{path.name}.parts")


def check_output(path: Path, settings: Settings, *, restart: bool) -> None:
    """Refuse what cannot be written, or must not be overwritten, before anything is computed.

    Raises:
        InputError: labels, sizes or hashes in a `.npy`; no folder to write to; something there
            that this library did not write.
    """
    if not path.parent.is_dir():
        raise InputError(f"the output's folder must exist. Received: {str(path)!r}")
    if path.is_dir():
        raise InputError(f"the output is a folder of something else. Received: {str(path)!r}")
    begun = (work_folder(path) / FOLDER).is_dir()
    if not begun and not restart and any(file.exists() for file in formats.files_of(path)):
        raise InputError(
            "the output exists and was not made by this command (or was moved here); choose "
            f"another, or replace it with --restart. Received: {str(path)!r}"
        )
    if formats.format_of(path) == ".npy" and (
        settings.labels or settings.dimensions or settings.content_hash or settings.perceptual_hash
    ):
        raise InputError(
            "a .npy file holds embeddings alone; labels, sizes and hashes need .parquet, .csv or "
            f"a folder. Received: {str(path)!r}"
        )


def packed_parts(path: Path) -> frozenset[PartName]:
    """The parts whose rows are in the file as it is now; none if it is another file."""
    return _packed(path).parts


def begin(path: Path, layout: Layout, *, restart: bool) -> frozenset[PartName]:
    """What a run does first, when it alone may write: see what is in the file, tidy up around it.

    Returns:
        The parts whose rows are in the file and nowhere else.

    Raises:
        InputError: somebody else's file lies there.
    """
    parts = frozenset() if restart else packed_parts(path)
    if not restart and not parts:
        refuse_other_output(path, layout.schema())
    files = (*formats.files_of(path), formats.errors_path(path))
    remove_leftovers(path.parent, {file.name for file in files}.__contains__)
    if not parts:  # names of parts may be given anew now
        _note_path(path).unlink(missing_ok=True)
    return parts if _is_read_back(path) else frozenset()


def pack(path: Path, dataset: DatasetWriter) -> None:
    """Move all rows of a dataset into its file; where there are none, none is begun.

    Args:
        path: of the file.
        dataset: finished; made with `find_moved=begin`.

    Raises:
        OSError: the file cannot be written; the dataset stays.
        DatasetError: the dataset or the file lost rows behind our back.
    """
    import pyarrow as pa

    packed, rows = _packed(path), dataset.counts()[0]
    parts = frozenset(dataset.parts())
    if packed == (parts, rows) and not dataset.changed:
        return
    if rows == 0 and not path.exists():
        return
    schema = dataset.layout.schema()
    still_named = DigestSet(
        digest(outcome.id)
        for part in sorted(packed.parts & parts)
        for outcome in dataset.manifest.outcomes(part)
    )

    def batches() -> Iterator[Any]:
        old = packed.rows and _is_read_back(path)
        for batch in formats.read_rows(path, schema.names) if old else ():
            ids = batch.column("id").to_pylist()
            keep = pa.array([digest(identity) in still_named for identity in ids], pa.bool_())
            yield batch.filter(keep).cast(schema)
        yield from dataset.batches()

    def counted() -> Iterator[Any]:
        found = 0
        for batch in batches():
            found += batch.num_rows
            yield batch
        if found != rows:
            raise DatasetError(
                f"expected {rows} rows for the file; --restart makes it anew. "
                f"Received: {str(path)!r} with {found}"
            )

    def note(stamps: Stamps) -> None:
        notes = [(formats.stamps_of(path), packed), (stamps, _Packed(parts, rows))]
        lines = [
            {"stamps": stamps, "parts": [*map(str, sorted(inside.parts))], "rows": inside.rows}
            for stamps, inside in notes
            if stamps is not None
        ]
        write_atomically(_note_path(path), json.dumps(lines).encode())

    formats.write_rows(path, schema, counted(), rows, ready=note)
    if _is_read_back(path):
        dataset.remove_rows(parts)


def _is_read_back(path: Path) -> bool:
    """Whether rows move out of the parts: a `.csv` file is made of them anew each time."""
    return formats.format_of(path) != ".csv"


def _note_path(path: Path) -> Path:
    return work_folder(path) / FOLDER / _NOTE


def _packed(path: Path) -> _Packed:
    stamps = formats.stamps_of(path)
    try:
        with _note_path(path).open("rb") as file:
            notes = read_json(file, _MAX_NOTE_BYTES)
        for note in notes:
            if [Stamp(*stamp) for stamp in note["stamps"]] == stamps:
                names = frozenset(filter(None, map(PartName.parse, note["parts"])))
                return _Packed(names, int(note["rows"]))
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (ValueError, TypeError, KeyError):
        pass  # not a note of ours: then nothing is known to be in the file
    return _Packed()
