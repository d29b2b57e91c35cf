"""Classifiers that people already have, read from their files into the folder of one of ours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from mobilenet_hub.catalog import ModuleInfo, find
from mobilenet_hub.errors import ConversionError, WeightsError
from mobilenet_hub.files import atomic_folder
from mobilenet_hub.weights.canonical import Weights, load
from mobilenet_hub.weights.readers import read_module
from mobilenet_hub.weights.readers.zip_files import unpacked_export
from mobilenet_hub.weights.unfold import folded_layers

MODEL, LABELS = "model.safetensors", "labels.txt"
MAX_LABELS_BYTES = 4 << 20
# Teachable Machine, and what it was copied into, numbers the lines: `0 Class 1`.
_NUMBERED = re.compile(r"(\d+)[ :\t]\s*(.+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class ImportedClassifier:
    """What came of an import.

    Attributes:
        folder: that was written: `model.safetensors` and `labels.txt`.
        module: of the catalogue, whose network it is.
        weights: the classifier: `weights.labels`, `weights.classifier`.
        folded: how many layers have batch norm folded into them: exact for inference, unfit for
            training until they are calibrated.
    """

    folder: Path
    module: ModuleInfo
    weights: Weights
    folded: int


def import_classifier(
    path: str | PathLike[str],
    output: str | PathLike[str],
    *,
    labels: Sequence[str] | str | PathLike[str] | None = None,
    handle: str | None = None,
    use_ema: bool | None = None,
) -> ImportedClassifier:
    """Read a classifier, head and labels included, and write it as one of this library's own.

    ```python
    hub.import_classifier("keras_model.h5", "insects", labels="labels.txt")
    hub.Module("insects").labels
    ```

    Args:
        path: a Teachable Machine export (the `.zip` too), a Keras model, a SavedModel, a `.tflite`
            file or a frozen graph; see docs/classifiers.md.
        output: the folder to write; one that was written by an import before is written over.
        labels: names of the classes, or the path of a file with one a line; None: those in the
            file or in a `labels.txt` beside it, or numbers.
        handle: of a module with the same network and size, where the file does not say which.
        use_ema: whether exponential moving averages in a checkpoint are taken; see `readers.read`.

    Raises:
        ConversionError: the output holds something else than an import writes; a file of labels
            that is none.
        WeightsError: the file holds no MobileNet, a head that cannot be kept, or no classes of its
            own; labels that are not as many as the classes.
        AmbiguousModuleError: nothing says which size of images it takes.
        MissingWeightsError, UnknownHandleError: as `readers.read`.
        OSError: the output cannot be written.
    """
    output = Path(output)
    refuse_other_folder(output)
    known = find(handle) if handle else None
    as_classifier = f"google/imagenet/{known.checkpoint_key}/classification" if known else None
    names = read_labels(labels) if isinstance(labels, str | PathLike) else labels
    with unpacked_export(Path(path)) as model:
        info, weights = read_module(model, handle=as_classifier, use_ema=use_ema, labels=names)
        beside = model / LABELS if model.is_dir() else model.with_name(LABELS)
        if names is None and weights.labels == _numbers(weights) and beside.is_file():
            names = read_labels(beside)
            info, weights = read_module(model, handle=as_classifier, use_ema=use_ema, labels=names)
    if weights.classifier is None:
        raise WeightsError(
            f"{path} holds no classes of its own: `mobilenet-hub import FILE` without --output "
            f"keeps the weights of published modules. "
            f"Received: {'ImageNet classes' if weights.has_logits else 'no classification layer'}"
        )
    text = "".join(f"{label}\n" for label in weights.labels)
    with atomic_folder(output) as folder:
        (folder / LABELS).write_text(text, "utf-8", "surrogateescape", newline="\n")
        weights.save(folder / MODEL)
    return ImportedClassifier(output, info, load(output / MODEL), len(folded_layers(weights)))


def refuse_other_folder(output: Path) -> None:
    """Refuse to write into what is not the whole of what an import wrote.

    Raises:
        ConversionError: something else is there.
    """
    if not output.exists() and not output.is_symlink():
        return
    names = {file.name for file in output.iterdir()} if output.is_dir() else {"a file"}
    if not names <= {MODEL, LABELS} or (names and not _is_classifier(output / MODEL)):
        raise ConversionError(
            f"what is at the output was not written by an import alone; choose another folder. "
            f"Received: {str(output)!r}, with {sorted(names)[0]!r}"
        )


def _is_classifier(path: Path) -> bool:
    try:
        return load(path).classifier is not None
    except (WeightsError, OSError):
        return False


def read_labels(path: str | PathLike[str]) -> tuple[str, ...]:
    """The names of classes, one a line, as they are; numbers before all of them are left out.

    Raises:
        ConversionError: no text in UTF-8, or larger than any list of classes.
        OSError: the file cannot be read.
    """
    path = Path(path)
    with path.open("rb") as file:
        data = file.read(MAX_LABELS_BYTES + 1)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConversionError(
            f"{path}: expected labels as text in UTF-8. Received: {error}"
        ) from error
    if len(data) > MAX_LABELS_BYTES:
        expected = f"at most {MAX_LABELS_BYTES:,} bytes of labels"
        raise ConversionError(f"{path}: expected {expected}. Received: more")
    lines = [line.strip() for line in text.rstrip().split("\n")]
    matches = [_NUMBERED.fullmatch(line) for line in lines]
    if all(match and int(match[1]) == number for number, match in enumerate(matches)):
        lines = [match[2] for match in matches if match]
    return tuple(lines)


def _numbers(weights: Weights) -> tuple[str, ...]:
    return tuple(map(str, range(len(weights.labels))))
