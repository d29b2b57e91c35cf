"""Weights in their one canonical form: TF-Slim's names and layouts, float32, in safetensors.

Every reader ends here and everything that computes starts here. A `Weights` is complete by
construction: each tensor its network needs is there once, in the right shape, finite, and no other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import TensorMismatchError, WeightsError
from mobilenet_hub.files import write_atomically
from mobilenet_hub.labels import imagenet_labels, unnamed_classes
from mobilenet_hub.networks import INPUT_RANGE, NUM_CLASSES, Network, network
from mobilenet_hub.settings import ClassifierSettings
from mobilenet_hub.weights.safetensors_format import own_metadata, parse_safetensors

FORMAT = "mobilenet-hub/1"
MAX_FILE_BYTES = 1 << 30  # the largest network is 25 MB; anything near this is not one
PROTOTYPES = "prototypes"  # their name in a file, beside the tensors of the network
_CARRIED = ("labels", "preprocessing", "activation", "input_range")  # through training
_UNIT_LENGTH = 1e-3  # how far the length of a prototype may be from 1

Tensors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Weights:
    """The tensors of one network with their provenance.

    Attributes:
        network: what they are the weights of.
        tensors: canonical name to float32 array (HWIO kernels, HWI1 for depthwise ones); read-only.
        metadata: provenance, all strings: `handle`, `source`, `source_sha256`,
            `converter_version`, `license`, and whatever else there is to say; the fields of
            `settings.ClassifierSettings` where the classes are not ImageNet's.
        sha256: of the safetensors file they were loaded from; None before they are written.
        prototypes: float32 [prototypes, num_features] of unit length: directions of features that a
            classifier was made with, by whose distance it tells what is none of its classes.
        classifier: what a classifier of somebody's own says of itself; None for ImageNet's.

    Raises:
        TensorMismatchError: lists all missing, extra and misshapen tensors.
        WeightsError: for values that are not finite, negative variances, or settings of a
            classifier that mean nothing or do not fit it.
    """

    network: Network
    tensors: Tensors
    metadata: Mapping[str, str] = field(default_factory=dict)
    sha256: str | None = None
    prototypes: NDArray[np.float32] | None = None
    classifier: ClassifierSettings | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        where = self.metadata.get("source", "these weights")
        wanted = _check_names(self.tensors, self.network, where)
        _check_values(self.tensors, where)
        ordered = {name: _read_only(self.tensors[name]) for name in wanted}
        object.__setattr__(self, "tensors", MappingProxyType(ordered))
        self._set_metadata(self.metadata)
        if self.prototypes is not None:
            object.__setattr__(self, "prototypes", _read_only(self.prototypes))
            _check_prototypes(self, where)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by parts: a read-only mapping cannot be."""
        parts = (self.network, dict(self.tensors), dict(self.metadata))
        return (Weights, (*parts, self.sha256, self.prototypes))

    @property
    def has_logits(self) -> bool:
        """Whether the classification layer is included."""
        return f"{self.network.logits.scope}/weights" in self.tensors

    @property
    def labels(self) -> tuple[str, ...]:
        """What each logit is called: as the metadata has it, else ImageNet's 1001, else numbers.

        Empty where the classification layer is not included.
        """
        if self.classifier is not None:
            return self.classifier.labels
        return unnamed_classes(self.network.num_classes) if self.has_logits else ()

    @property
    def is_imagenet(self) -> bool:
        """Whether the logits, if there are any, are those of ImageNet's 1001 classes."""
        return not self.has_logits or self.labels == imagenet_labels()

    def with_metadata(self, **more: str) -> Weights:
        """The same tensors, which were checked already, with more said of them."""
        other: Weights = object.__new__(Weights)
        for name, value in {**vars(self), "sha256": None}.items():
            object.__setattr__(other, name, value)
        other._set_metadata({**self.metadata, **more})
        return other

    def _set_metadata(self, metadata: Mapping[str, str]) -> None:
        """Keep what is said of the tensors; what is said of the classes must fit the network."""
        object.__setattr__(self, "metadata", MappingProxyType(dict(metadata)))
        where, net = metadata.get("source", "these weights"), self.network
        settings = _settings_in(metadata, where) if self.has_logits else None
        object.__setattr__(self, "classifier", settings)
        if not self.has_logits:
            return
        if settings is not None and len(settings.labels) != net.num_classes:
            received = f"{len(settings.labels)} labels for {net.num_classes} classes"
            raise _misfit(where, f"each class has one label. Received: {received}")
        wanted = settings.input_range if settings is not None else INPUT_RANGE
        if wanted != net.input_range:
            received = f"the network's input range is {net.input_range}. Received: {wanted}"
            raise _misfit(where, received)
        if settings and settings.reject_threshold is not None and self.prototypes is None:
            raise _misfit(where, "a threshold of rejection needs prototypes. Received: none")

    def save(self, path: str | PathLike[str]) -> str:
        """Write a safetensors file, atomically and reproducibly; returns its sha256."""
        data = to_bytes(self)
        write_atomically(path, data)
        return hashlib.sha256(data).hexdigest()


def to_bytes(weights: Weights) -> bytes:
    """The safetensors file of weights. Equal weights and metadata give equal bytes."""
    from safetensors.numpy import save

    # One JSON value under one key: safetensors does not keep the order of several keys.
    metadata = {"mobilenet_hub": json.dumps({"format": FORMAT, **weights.metadata}, sort_keys=True)}
    tensors = {k: np.ascontiguousarray(v) for k, v in weights.tensors.items()}
    if weights.prototypes is not None:
        tensors[PROTOTYPES] = np.ascontiguousarray(weights.prototypes)
    return save(tensors, metadata)


def fingerprint(weights: Weights) -> str:
    """The sha256 of their canonical file, in hex: that of the file they are of, or would make."""
    return weights.sha256 or hashlib.sha256(to_bytes(weights)).hexdigest()


def once_trained(handle: str, origin: Weights | None) -> dict[str, str]:
    """The metadata of weights that are being trained.

    Args:
        handle: of the module.
        origin: the weights that the training began with; None where a file brings them.

    Returns:
        Their provenance, and what of a classifier's settings training leaves as it is: not the
        temperature and the threshold, which were fitted to the weights before.
    """
    if origin is None:
        return {"handle": handle, "source": "a file, read and perhaps trained further"}
    began = {"began_with_sha256": origin.sha256} if origin.sha256 else {}
    if "license" in origin.metadata:
        began["license"] = origin.metadata["license"]
    source = f"trained, beginning with: {origin.metadata.get('source', 'given weights')}"
    return {"handle": handle, "source": source, **carried(origin.metadata), **began}


def carried(metadata: Mapping[str, str]) -> dict[str, str]:
    """What of a classifier's settings training leaves as it is, of the metadata of its weights."""
    return {key: text for key, text in metadata.items() if key in _CARRIED}


def load(path: str | PathLike[str], *, sha256: str | None = None) -> Weights:
    """Read canonical weights from a safetensors file.

    Args:
        path: the file.
        sha256: what its bytes must hash to, where that is known.

    Raises:
        WeightsError: not a safetensors file of this library, or not the one that was pinned.
        TensorMismatchError: lists all tensors that do not fit the network.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        raise WeightsError(
            f"{path}: expected a weights file of at most {MAX_FILE_BYTES} bytes. Received: {size}"
        )
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and digest != sha256:
        raise WeightsError(
            f"{path} is not the file that was recorded: it was changed or damaged. Delete it and "
            f"fetch it again. Expected sha256 {sha256}. Received: {digest}"
        )
    tensors, metadata = parse_safetensors(data, str(path))
    return from_tensors(tensors, metadata=own_metadata(metadata), where=str(path), sha256=digest)


def from_tensors(
    tensors: Mapping[str, NDArray[Any]],
    *,
    metadata: Mapping[str, str] | None = None,
    where: str = "these weights",
    sha256: str | None = None,
    expected: Network | None = None,
) -> Weights:
    """Weights from named arrays, the network found from their shapes unless `expected` says it.

    Raises:
        TensorMismatchError: the tensors fit no MobileNet, or not the one expected.
    """
    for name, value in tensors.items():
        if value.dtype.kind != "f":
            raise WeightsError(f"{where}: tensor {name} must be float. Received: {value.dtype}")
    float32 = {name: np.require(v, np.float32, ["C", "A"]) for name, v in tensors.items()}
    prototypes = float32.pop(PROTOTYPES, None)
    metadata = {"source": where, **(metadata or {})}
    net = expected
    if net is None:
        settings = _settings_in(metadata, where)
        net = network_of(float32, where, settings.input_range if settings else INPUT_RANGE)
    return Weights(net, float32, metadata, sha256, prototypes)


def network_of(
    tensors: Mapping[str, NDArray[Any]],
    where: str = "these weights",
    input_range: tuple[float, float] = INPUT_RANGE,
) -> Network:
    """The network whose shapes these tensors have, among the published depth multipliers.

    Raises:
        TensorMismatchError: none has; the differences to the nearest are listed.
    """
    from mobilenet_hub.catalog import modules

    candidates = dict.fromkeys((r.family, r.depth_multiplier) for r in modules().values())
    # The size of a dense layer's output, by its biases.
    biases = {name.partition("/")[2]: value.shape for name, value in tensors.items()}
    classes, hidden = (
        shape[0] if len(shape) == 1 and shape[0] else None
        for shape in (
            biases.get(f"Logits/{name}/biases", ()) for name in ("Conv2d_1c_1x1", "Hidden")
        )
    )
    best: tuple[int, Network] | None = None
    for family, multiplier in candidates:
        net = network(
            family, multiplier, classes or NUM_CLASSES,
            hidden_units=hidden, input_range=input_range,
        )  # fmt: skip
        wanted = net.variables(logits=f"{net.logits.scope}/weights" in tensors)
        wrong = sum(1 for n, s in wanted.items() if n not in tensors or tensors[n].shape != s)
        wrong += sum(1 for n in tensors if n not in wanted)
        if wrong == 0:
            return net
        if best is None or wrong < best[0]:
            best = (wrong, net)
    assert best is not None
    _check_names(tensors, best[1], where)
    raise AssertionError("unreachable: the nearest network differs")


def _check_names(
    tensors: Mapping[str, NDArray[Any]], net: Network, where: str
) -> dict[str, tuple[int, ...]]:
    """The names and shapes of what a network needs: what these tensors must have, and have.

    Raises:
        TensorMismatchError: they have not.
    """
    wanted = net.variables(logits=any("/Logits/" in name for name in tensors))
    misshapen = [
        f"{name} (expected {_shape(shape)}, received {_shape(tensors[name].shape)})"
        for name, shape in wanted.items()
        if name in tensors and tensors[name].shape != shape
    ]
    missing = [name for name in wanted if name not in tensors]
    extra = [name for name in tensors if name not in wanted]
    if missing or extra or misshapen:
        label = f"{where} (nearest: {net.family} with depth multiplier {net.depth_multiplier})"
        raise TensorMismatchError(label, missing, extra, misshapen)
    return wanted


def _shape(shape: Iterable[int]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def _check_values(tensors: Tensors, where: str) -> None:
    bad = [name for name, value in tensors.items() if not np.isfinite(value).all()]
    if bad:
        raise WeightsError(f"{where}: values must be finite. Received NaN or infinity in: {bad}")
    negative = [n for n, v in tensors.items() if n.endswith("moving_variance") and (v < 0).any()]
    if negative:
        raise WeightsError(f"{where}: variances must not be negative. Received: {negative}")


def _settings_in(metadata: Mapping[str, str], where: str) -> ClassifierSettings | None:
    """What the metadata says of the classes; None where they have no labels of their own."""
    if "labels" not in metadata:
        return None
    try:
        return ClassifierSettings.from_metadata(metadata)
    except (ValueError, RecursionError) as error:
        raise _misfit(where, error) from error


def _misfit(where: str, why: object) -> WeightsError:
    return WeightsError(f"{where}: what its metadata says of its classes does not fit: {why}")


def _check_prototypes(weights: Weights, where: str) -> None:
    prototypes, features = weights.prototypes, weights.network.num_features
    assert prototypes is not None
    if weights.classifier is None:
        raise WeightsError(
            f"{where}: prototypes belong to a classifier with labels. Received: none"
        )
    if prototypes.ndim != 2 or prototypes.shape[1] != features or not len(prototypes):
        raise WeightsError(
            f"{where}: expected prototypes [number, {features}]. Received: {prototypes.shape}"
        )
    lengths = np.linalg.norm(prototypes, axis=1)
    if not (np.abs(lengths - 1) < _UNIT_LENGTH).all():  # NaN too is no length
        raise WeightsError(
            f"{where}: expected prototypes of length 1. Received: {lengths[:5]}, ..."
        )


def _read_only(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    view = tensor.view()
    view.flags.writeable = False
    return view
