"""safetensors files: this library's own, any with TF-Slim's names, and Hugging Face's."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.canonical import MAX_FILE_BYTES, PROTOTYPES
from mobilenet_hub.weights.readers.base import Reading, finished, read_file
from mobilenet_hub.weights.readers.head import without_head
from mobilenet_hub.weights.readers.hugging_face import read_config, read_hugging_face
from mobilenet_hub.weights.readers.tensorflow.slim_names import select
from mobilenet_hub.weights.safetensors_format import own_metadata, parse_safetensors


def read_safetensors(path: str | PathLike[str], use_ema: bool | None = None) -> Reading:
    """Read the network of a safetensors file.

    Args:
        path: the file.
        use_ema: as `tensorflow.checkpoint.read_checkpoint`.

    Raises:
        MissingWeightsError: there is no such file.
        WeightsError: the file is damaged, or holds no MobileNet, or several.
    """
    path, where = Path(path), str(path)
    data = read_file(path, "The safetensors file", MAX_FILE_BYTES)
    tensors, metadata = parse_safetensors(data, where)
    if not any("MobilenetV" in name for name in tensors):
        return read_hugging_face(tensors, where, read_config(path))
    for name, tensor in tensors.items():
        if tensor.dtype.kind != "f":
            raise WeightsError(f"{where}: tensor {name} must be float. Received: {tensor.dtype}")
    own = own_metadata(metadata)  # with it, the averages have the variables' names already
    selected = select(tensors, where, None if own else use_ema)
    names = dict(selected.names)
    if own and PROTOTYPES in tensors:
        names[PROTOTYPES] = PROTOTYPES
    reading = Reading(
        finished({name: tensors[key] for name, key in names.items()}),
        "safetensors",
        moving_averages=selected.moving_averages,
        metadata=own,
    )
    others = {name: tensor.shape for name, tensor in tensors.items() if name not in names.values()}
    return without_head(reading, others, where)
