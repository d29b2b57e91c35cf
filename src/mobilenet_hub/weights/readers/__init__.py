"""One reader per file format: bytes from anywhere to TF-Slim-named tensors, strictly.

`read` looks at what a file is, not at what it is called, and takes whichever reader knows it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from mobilenet_hub.catalog import find
from mobilenet_hub.errors import AmbiguousModuleError, WeightsError
from mobilenet_hub.weights.readers.formats import read_any

if TYPE_CHECKING:
    from mobilenet_hub.catalog import ModuleInfo
    from mobilenet_hub.weights.canonical import Weights

# Recorded in every converted file; raised when a reader's result changes.
CONVERTER_VERSION = "1"


def read(
    path: str | PathLike[str],
    *,
    handle: str | None = None,
    use_ema: bool | None = None,
    any_size: bool = False,
    labels: Sequence[str] | None = None,
) -> Weights:
    """Read the weights in a file or folder of any known format.

    Args:
        path: a file, a folder, an archive, or the prefix of a TensorFlow checkpoint.
        handle: the module they are the weights of, where the file does not say.
        use_ema: whether exponential moving averages in a checkpoint are taken in place of the
            trained variables; None: for V2, not for V1. Files that hold only one of the two
            are refused if it is the other.
        any_size: whether the handle's image size may be another than the file itself tells.
        labels: what the classes are called; None: as the file calls them, or numbers.

    Returns:
        The weights. Their metadata says where they come from: `source`, `source_sha256`,
        `converter_version`, `batch_norm` (`folded` or `unfolded`), `notes`; `handle` if it is
        known which module they are of. A head of other classes than ImageNet's comes along, with
        what it is used with (`Weights.classifier`); it is left out only if `handle` names a
        feature_vector module.

    Raises:
        MissingWeightsError: there is nothing at that path.
        WeightsError: a damaged file, a format that is not known, a pickle, no MobileNet; another
            image size than the handle's; a head that cannot be kept; labels that are not as many
            as the classes.
        TensorMismatchError: lists all tensors that do not fit the network.
        UnknownHandleError: the handle names no module.
    """
    return _identified(Path(path), handle, use_ema, any_size, labels)[0]


def read_module(
    path: str | PathLike[str],
    *,
    handle: str | None = None,
    use_ema: bool | None = None,
    any_size: bool = False,
    labels: Sequence[str] | None = None,
) -> tuple[ModuleInfo, Weights]:
    """Read weights that are to be those of one module, and say of which.

    Args: as `read`.

    Returns:
        The module, and the weights as `read` gives them.

    Raises:
        AmbiguousModuleError: they fit several modules, and nothing says which is meant.
        MissingWeightsError, WeightsError, TensorMismatchError, UnknownHandleError: as `read`.
    """
    weights, possible = _identified(Path(path), handle, use_ema, any_size, labels)
    if len(possible) > 1:
        raise AmbiguousModuleError(str(path), [record.handle for record in possible])
    return possible[0], weights


def _identified(
    path: Path,
    handle: str | None,
    use_ema: bool | None,
    any_size: bool,
    labels: Sequence[str] | None,
) -> tuple[Weights, list[ModuleInfo]]:
    """The weights in a file and the modules they may be of, one unless nothing tells them apart."""
    from mobilenet_hub.weights.canonical import from_tensors
    from mobilenet_hub.weights.identify import possible_modules
    from mobilenet_hub.weights.readers.own_classes import classes_of, with_preprocessing

    reading = read_any(path, use_ema)
    features_only = handle is not None and find(handle).task == "feature_vector"
    if reading.unread is not None and not features_only:
        raise reading.unread
    averages = reading.moving_averages or reading.metadata.get("moving_averages") == "used"
    if use_ema is not None and use_ema != averages:
        which = "exponential moving averages" if use_ema else "variables that are no averages"
        raise WeightsError(
            f"{path} holds no {which}: leave the choice out (--ema, --no-ema). "
            f"Received: use_ema={use_ema}"
        )
    classes = classes_of(reading, labels, str(path), features_only=features_only)
    notes = (*reading.notes, *classes.notes)
    if reading.unread is not None:
        notes += ("A head that cannot be kept was left out: the features were asked for.",)
    metadata = {
        "source": f"{path.name} ({reading.format})",
        "source_sha256": _digest(reading.files or (path,)),
        "converter_version": CONVERTER_VERSION,
        "batch_norm": "folded" if reading.folded else "unfolded",
        **({"moving_averages": "used"} if reading.moving_averages else {}),
        **({"notes": " ".join(notes)} if notes else {}),
        **reading.metadata,
        **(classes.settings.to_metadata() if classes.settings else {}),
    }
    weights = from_tensors(classes.tensors, metadata=metadata, where=str(path))
    names = (*reading.names, *_names(path))
    possible = possible_modules(
        weights, handle=handle, names=names, image_size=reading.image_size, any_size=any_size
    )
    if len(possible) == 1:
        weights = weights.with_metadata(handle=possible[0].handle)
    return with_preprocessing(weights, reading, possible)


def _digest(files: Iterable[Path]) -> str:
    """The sha256 of a file; of several, that of a list of their sha256s and names."""
    digests = []
    for path in sorted(path for path in files if path.is_file()):  # never block on a pipe
        with path.open("rb") as file:
            digests.append((hashlib.file_digest(file, "sha256").hexdigest(), path.name))
    if len(digests) == 1:
        return digests[0][0]
    lines = "".join(f"{sha256}  {name}\n" for sha256, name in digests)
    return hashlib.sha256(lines.encode()).hexdigest()


def _names(path: Path) -> list[str]:
    """Whatever may hold the name of a checkpoint: parts of the path, what TF-Hub's cache says."""
    from mobilenet_hub.weights.identify import hashed_handle

    names = list(path.absolute().parts[-4:])
    names += [record.checkpoint_key for name in names if (record := hashed_handle(name))]
    descriptor = path.with_name(f"{path.name}.descriptor.txt")  # in TF-Hub's cache
    if descriptor.is_file():
        with descriptor.open("rb") as file:
            names.append(file.read(1024).decode("utf-8", "replace"))
    return names
