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
from mobilenet_hub.weights.readers.base import Reading, read_file, square
from mobilenet_hub.weights.readers.tensorflow.checkpoint import read_bundle
from mobilenet_hub.weights.readers.tensorflow.functions import read_signature
from mobilenet_hub.weights.readers.tensorflow.match_network import read_network
from mobilenet_hub.weights.readers.tensorflow.protobuf import Message
from mobilenet_hub.weights.readers.tensorflow.tensor_bundle import OBJECT_GRAPH, TensorBundle

MAX_GRAPH_BYTES = 64 << 20
# What hub modules carry besides their graph: the collection of a graph that holds it
# (tensorflow_hub/saved_model_lib.py), and the keys there, the second of this library's own.
ATTACHMENTS = "hub_module_attachments"
IMAGE_MODULE_INFO_KEY = "image_module_info"
HANDLE_KEY = "mobilenet_hub_handle"
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
    size, handle = _image_size_and_handle(root / "saved_model.pb")
    reading = replace(
        reading,
        format=kind,
        files=(*own, *reading.files),
        image_size=size,
        metadata={**reading.metadata, **({"handle": handle} if handle else {})},
    )
    return reading if reading.unread is None else _with_head(reading, own[0], bundle)


def _with_head(reading: Reading, path: Path, bundle: TensorBundle) -> Reading:
    """A reading with the head that the graph computes: its variables do not say what they are."""
    found = read_network(read_signature(path, bundle), reading.format, reading.image_size)
    head = {name: array for name, array in found.tensors.items() if "/Logits/" in name}
    return replace(
        reading,
        tensors={**{n: a for n, a in reading.tensors.items() if "/Logits/" not in n}, **head},
        notes=(*reading.notes, *found.notes),
        unread=found.unread,
        activation=found.activation,
        input_range=found.input_range,
        crop="none",
    )


def _image_size_and_handle(path: Path) -> tuple[int | None, str | None]:
    """The size of the images that its signatures take, or that it carries, if they agree on one.

    It serves to tell modules apart whose weights have the same shapes; so does the handle, which
    modules carry that this library exported. A graph that cannot be understood tells nothing
    (SavedModel and MetaGraphDef are in tensorflow/core/protobuf).
    """
    try:
        model = Message(read_file(path, "The graph of the SavedModel", MAX_GRAPH_BYTES), str(path))
        graphs = list(model.messages(2))
        shapes = [
            [dimension.signed(1) for dimension in tensor.message(2).message(3).messages(2)]
            for graph in graphs
            for signature in graph.messages(5)
            for tensor in signature.message(2).messages(1)
        ]
        attached = {
            message.text(1): message
            for graph in graphs
            for collection in graph.messages(4)
            if collection.text(1) == ATTACHMENTS
            for message in collection.message(2).message(2).messages(1)
        }
        if IMAGE_MODULE_INFO_KEY in attached:
            expected = attached[IMAGE_MODULE_INFO_KEY].message(2).message(1)
            shapes.append([-1, expected.integer(1), expected.integer(2), 3])
        handle = attached[HANDLE_KEY].text(2) if HANDLE_KEY in attached else None
    except WeightsError:
        return None, None
    sizes = {size for shape in shapes if (size := square(shape))}
    return sizes.pop() if len(sizes) == 1 else None, handle


def _check_hub_module(path: Path) -> None:
    module = Message(read_file(path, "tfhub_module.pb", 1 << 16), str(path))
    if (version := module.integer(1)) != HUB_FORMAT_V3:
        raise WeightsError(f"{path}: expected hub format {HUB_FORMAT_V3}. Received: {version}")
