"""A dataset in a single file, with all that a folder has: resume, flat memory, no half results.

While `features.parquet` is being made, a dataset grows in the hidden folder
`.features.parquet.parts` beside it. In the end all rows move into the file, and the folder keeps
only the manifests: so that the same command, run again, does only what is missing. Which rows are
in the file is noted, with the file's own stamp, before the file takes its place; so at any instant
either the old note fits the old file, or the new one the new.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mobilenet_hub.errors import InputError
from mobilenet_hub.files import write_atomically
from mobilenet_hub.pipeline import sinks
from mobilenet_hub.pipeline.dataset import Dataset
from mobilenet_hub.pipeline.digests import DigestSet, digest
from mobilenet_hub.pipeline.items import Stamp
from mobilenet_hub.pipeline.manifest import FOLDER
from mobilenet_hub.pipeline.shards import Layout

_NOTE = "packed.json"


def work_folder(path: Path) -> Path:
    """Where the dataset of a file grows."""
    return path.with_name(f".{path.name}.parts")


def check_output(path: Path, layout: Layout) -> None:
    """Refuse what a file cannot hold, before anything is computed.

    Raises:
        InputError: labels, sizes or hashes in a `.npy`; no folder to write to.
        MissingExtraError: Lance is not installed.
    """
    if not path.parent.is_dir():
        raise InputError(f"the output's folder must exist. Received: {str(path)!r}")
    if path.suffix == ".npy" and (layout.labels or layout.dimensions or layout.content_hash):
        raise InputError(
            "a .npy file holds embeddings alone; labels, sizes and hashes need .parquet, .csv, "
            f".lance or a folder. Received: {str(path)!r}"
        )
    if path.suffix == ".lance":
        sinks.require_lance()


def packed_parts(path: Path) -> frozenset[str]:
    """The parts whose rows are in the file as it is now; none if it is another file."""
    stamp = _stamp(path)
    fitting = (note["parts"] for note in _notes(path) if tuple(note["stamp"]) == stamp)
    return frozenset(next(fitting, ()))


def forget(path: Path) -> None:
    """Note that no rows are in the file; before part names are given anew."""
    _note_path(path).unlink(missing_ok=True)


def pack(path: Path, dataset: Dataset, layout: Layout) -> None:
    """Move all rows of a dataset into its file.

    Args:
        path: of the file.
        dataset: finished; made with `elsewhere=packed_parts(path)`.
        layout: of the rows.

    Raises:
        OSError: the file cannot be written; the dataset stays.
    """
    import pyarrow as pa

    inside, parts = packed_parts(path), frozenset(dataset.parts())
    if inside == parts and path.exists():
        return
    schema = layout.schema()
    manifest = dataset.manifest
    made_again = DigestSet(
        digest(entry.id) for part in sorted(parts - inside) for entry in manifest.entries(part)
    )

    def batches() -> Iterator[Any]:
        for batch in sinks.read_rows(path, schema.names) if inside else ():
            ids = batch.column("id").to_pylist()
            keep = pa.array([digest(identity) not in made_again for identity in ids], pa.bool_())
            yield batch.filter(keep).cast(schema)
        yield from dataset.batches()

    def note(stamp: Stamp) -> None:
        old = {"stamp": _stamp(path), "parts": sorted(inside)}
        new = {"stamp": stamp, "parts": sorted(parts)}
        notes = [new] if old["stamp"] is None else [old, new]
        write_atomically(_note_path(path), json.dumps(notes).encode())

    rows, _ = dataset.counts()
    sinks.write_rows(path, schema, batches(), rows, ready=note)
    dataset.remove_rows(parts)


def _note_path(path: Path) -> Path:
    return work_folder(path) / FOLDER / _NOTE


def _notes(path: Path) -> list[dict[str, Any]]:
    try:
        notes = json.loads(_note_path(path).read_bytes())
        return [{"stamp": note["stamp"], "parts": note["parts"]} for note in notes]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (ValueError, TypeError, KeyError):
        return []  # not a note of ours: then nothing is known to be in the file


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return Stamp(status.st_size, status.st_mtime_ns)
