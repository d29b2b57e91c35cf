"""Modules in the TF1 "hub" format, as `tensorflow_hub`'s `Module.export` wrote them.

That is a SavedModel with a meta graph for each set of tags, no tags for inference and `train`, and
a file that says so (`tensorflow_hub/module_def.proto`).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import tensorflow as tf

from mobilenet_hub.catalog import ModuleInfo
from mobilenet_hub.errors import TensorMismatchError
from mobilenet_hub.signatures import Signatures
from mobilenet_hub.signatures.attached import attachments
from mobilenet_hub.tensorflow.network import MobileNet, add_regularization_losses
from mobilenet_hub.weights.canonical import Weights, from_tensors
from mobilenet_hub.weights.readers.tensorflow.saved_model import ATTACHMENTS

_MODULE_DEF = ("tfhub_module.pb", b"\x08\x03")  # format: FORMAT_V3


def write_hub_module(path: str | PathLike[str], info: ModuleInfo, weights: Weights) -> None:
    """Write a folder that `hub.Module` and `tensorflow_hub` read, whole or not at all.

    Args:
        path: of the folder, which must not be there, or be empty.
        info: the module.
        weights: its weights.

    Raises:
        FileExistsError: there is something already.
        OSError: it cannot be written.
    """
    target = Path(path)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(
            f"expected a folder that is not there yet, or empty. Received: {str(target)!r}"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as beside:
        written = Path(beside, target.name)
        builder = tf.compat.v1.saved_model.Builder(str(written))
        for tags in ([], ["train"]):
            with tf.Graph().as_default(), tf.compat.v1.Session() as session:
                signatures = _build(info, weights, training=bool(tags))
                if tags:
                    builder.add_meta_graph(tags, signatures, strip_default_attrs=True)
                    continue
                session.run(tf.compat.v1.global_variables_initializer())
                builder.add_meta_graph_and_variables(
                    session, tags, signatures, strip_default_attrs=True
                )
        builder.save()
        name, content = _MODULE_DEF
        (written / name).write_bytes(content)
        if target.exists():
            target.rmdir()
        shutil.move(written, target)


def checkpoint_weights(
    path: str | PathLike[str], info: ModuleInfo, name_of: Callable[[str], str]
) -> Weights:
    """The weights of a module in a checkpoint of any names.

    Args:
        path: of the checkpoint, without its suffixes.
        info: the module.
        name_of: from the name of a variable in the module to its name in the checkpoint.

    Raises:
        TensorMismatchError: names that are not there, or tensors of another shape.
        tf.errors.OpError: there is no such checkpoint.
    """
    reader = tf.train.load_checkpoint(str(path))
    names = info.network.variables(logits=info.task == "classification")
    if missing := [name_of(name) for name in names if not reader.has_tensor(name_of(name))]:
        raise TensorMismatchError(f"the checkpoint {path}", missing=missing)
    values = {name: reader.get_tensor(name_of(name)) for name in names}
    return from_tensors(values, where=f"the checkpoint {path}", expected=info.network)


def _build(info: ModuleInfo, weights: Weights, *, training: bool) -> dict[str, Any]:
    """One graph of a module; returns its signatures."""
    v1 = tf.compat.v1
    known = Signatures(info, weights.network)
    network = MobileNet(weights.network, weights.tensors, logits="classification" in known.tasks)
    add_regularization_losses(network)
    shape = known.inputs(None)["images"].shape
    images = v1.placeholder(tf.float32, shape, "images")
    momentum = v1.placeholder_with_default(info.batch_norm_momentum, (), "batch_norm_momentum")
    applied = network.apply(
        images, logits="classification" in known.tasks, training=training, momentum=momentum
    )
    for message in attachments(info):
        v1.add_to_collection(ATTACHMENTS, message)
    for update in applied.updates:
        v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, update)
    given = {"images": images, "batch_norm_momentum": momentum}
    return {
        name: v1.saved_model.predict_signature_def(
            {key: given[key] for key in known.inputs(name)}, applied.outputs(known.task(name))
        )
        for name in known.names
    }
