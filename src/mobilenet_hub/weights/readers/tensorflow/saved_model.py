"""SavedModels: the TF1 modules of TF Hub, and the TF2 ones.

Both are a directory of `saved_model.pb` (the graph, which this library does not need: it has the
network as data) and `variables/variables.{index,data-*}`, a tensor bundle. A TF1 module also has
`tfhub_module.pb` and stores its variables by name; TF2 stores them by their place in an object
graph, which the bundle itself holds and which gives each its name.
"""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path

from mobilenet_hub.errors import MissingWeightsError, WeightsError
from mobilenet_hub.weights.readers.base import Reading, read_file
from mobilenet_hub.weights.readers.tensorflow.protobuf import Message
from mobilenet_hub.weights.readers.tensorflow.tensor_bundle import (
    OBJECT_GRAPH,
    TensorBundle,
    read_bundle,
)

HUB_FORMAT_V3 = 3  # ModuleDef.Format in tensorflow_hub/module_def.proto; there is no other


def read_saved_model(directory: str | PathLike[str], use_ema: bool | None = None) -> Reading:
    """Read the network of a SavedModel or TF1 hub module.

    Args:
        directory: that holds `saved_model.pb` (or that file itself).
        use_ema: as `read_checkpoint`; exported models hold no averages as a rule.

    Raises:
        MissingWeightsError: if the directory or a file that belongs in it is not there.
        WeightsError: if its variables are damaged, or are no network, or several.
    """
    root = Path(directory)
    if root.name == "saved_model.pb":
        root = root.parent
    try:
        complete = (root / "saved_model.pb").is_file()
        is_hub_module = (root / "tfhub_module.pb").is_file()
    except OSError as error:
        raise WeightsError(f"{root} cannot be looked into: {error}") from error
    if not complete:
        raise MissingWeightsError(
            f"A SavedModel is a directory that holds saved_model.pb and variables/. "
            f"Received: {str(directory)!r}"
        )
    if is_hub_module:
        _check_hub_module(root / "tfhub_module.pb")
    bundle = TensorBundle(root / "variables" / "variables")
    if is_hub_module:
        kind = "TF1 hub module"
    else:
        kind = "TF2 SavedModel" if OBJECT_GRAPH in bundle.entries else "TF1 SavedModel"
    reading = read_bundle(bundle, use_ema)
    own = (root / "saved_model.pb", *([root / "tfhub_module.pb"] if is_hub_module else []))
    return replace(reading, format=kind, files=(*own, *reading.files))


def _check_hub_module(path: Path) -> None:
    module = Message(read_file(path, "tfhub_module.pb", 1 << 16), str(path))
    if (version := module.integer(1)) != HUB_FORMAT_V3:
        raise WeightsError(f"{path}: expected hub format {HUB_FORMAT_V3}. Received: {version}")
