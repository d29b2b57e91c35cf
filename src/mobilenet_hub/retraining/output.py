"""The folder that a training writes: whose it is, what is in it, and the split of the last time."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mobilenet_hub.errors import DatasetError, InputError
from mobilenet_hub.evaluation.split_file import SPLIT, Side, read_split
from mobilenet_hub.evaluation.suspects import Suspect
from mobilenet_hub.files import remove_leftovers
from mobilenet_hub.pipeline.dataset.id_sets import digest
from mobilenet_hub.pipeline.dataset.parquet import METADATA_KEY, read_schema
from mobilenet_hub.retraining.records import Data
from mobilenet_hub.weights.storage.cache import Cache

MODEL, LABELS, METRICS, REPORT = "model.safetensors", "labels.txt", "metrics.json", "report.html"
SUSPECTS = "suspects.csv"
_FILES = {MODEL, LABELS, METRICS, REPORT, SPLIT, SUSPECTS}
_OF_DESKTOPS = {".DS_Store", "Thumbs.db", "desktop.ini"}  # left by looking at the folder
_SPLIT_FORMAT = "mobilenet-hub split/1"


@contextmanager
def own_folder(output: Path, source: Path) -> Iterator[None]:
    """Hold a folder for one training; what a killed one left beside it is removed.

    Raises:
        InputError: the folder is not one that a training wrote, or lies among the photos.
        DatasetError: another training is writing to it.
        OSError: the folder above it is not there.
    """
    if source.is_dir() and output.resolve().is_relative_to(source.resolve()):
        raise InputError(
            "the output must not lie among the photos, where it would become a class. "
            f"Received: {str(output)!r} in {str(source)!r}"
        )
    refuse_other_folder(output)
    if not output.parent.is_dir():
        raise FileNotFoundError(2, "the folder for the output is not there", str(output.parent))
    name = f"retrain-{digest(str(output.resolve())).hex()}"
    with Cache().lock(name, wait=False) as mine:
        if not mine:
            raise DatasetError(f"another training is writing there. Received: {str(output)!r}")
        remove_leftovers(output.parent, lambda leftover: leftover == output.name)
        yield


def refuse_other_folder(output: Path) -> None:
    """Refuse to replace what is not the whole of what a training wrote.

    Raises:
        InputError: something else is there.
    """
    if not output.exists() and not output.is_symlink():
        return
    strange: list[str] = []
    if output.is_dir() and not output.is_symlink():
        names = {path.name for path in output.iterdir()} - _OF_DESKTOPS
        strange = sorted(names - _FILES)
        if not names or (not strange and _is_split(output / SPLIT)):
            return
    also = f", with {strange[0]!r} in it" if strange else ""
    raise InputError(
        "what is at the output was not written by this command alone; choose another folder. "
        f"Received: {str(output)!r}{also}"
    )


def earlier_split(output: Path) -> dict[bytes, Side]:
    """The sides of an earlier training, by the sha256 of the photos; empty where there is none.

    Raises:
        DatasetError: it is damaged.
    """
    path = output / SPLIT
    return read_split(path) if path.exists() else {}


def write_split(
    path: Path, data: Data, digests: Sequence[bytes], sides: Sequence[Side | None]
) -> None:
    """Write which side each photo is on; of one left out the side is null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    labels = (
        [[data.labels[at] for at in row.nonzero()[0]] for row in data.targets]
        if data.multi_label
        else [[data.labels[target]] for target in data.targets]
    )
    table = pa.table(
        {
            "id": pa.array([item.id for item in data.items], pa.string()),
            "labels": pa.array(labels, pa.list_(pa.string())),
            "side": pa.array(sides, pa.string()),
            "sha256": pa.array([value.hex() for value in digests], pa.string()),
        }
    )
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: _SPLIT_FORMAT}), path)


def write_labels(path: Path, labels: Sequence[str]) -> None:
    """Write the names of the classes, one a line, in the order of the logits."""
    path.write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write figures as JSON."""
    path.write_text(json.dumps(metrics, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_suspects(path: Path, suspects: Sequence[Suspect], data: Data) -> None:
    """Write labels that are probably wrong as a table, the surest first."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["id", "label", "likely", "label_probability", "likely_probability"])
    for suspect in suspects:
        likely = "not " if suspect.likely == suspect.given else ""
        writer.writerow(
            [
                _no_formula(data.items[suspect.row].id),
                _no_formula(data.labels[suspect.given]),
                _no_formula(likely + data.labels[suspect.likely]),
                f"{suspect.given_probability:.4f}",
                f"{suspect.likely_probability:.4f}",
            ]
        )
    path.write_text(text.getvalue(), encoding="utf-8", errors="surrogateescape", newline="")


def _no_formula(text: str) -> str:
    """Text that spreadsheets show and never compute: `'` before what begins as a formula does.

    So OWASP has it (CSV Injection); quotes around a cell do not keep a spreadsheet from it.
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text


def _is_split(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    try:
        found = (read_schema(path).metadata or {}).get(METADATA_KEY)
    except (DatasetError, OSError):
        return False
    return bool(found == _SPLIT_FORMAT.encode())
