"""Which module and which weights the user means: asked once, in one place.

`hub.Module`, `hub.KerasLayer`, `hub.load` and `keras.model` all begin here.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Protocol, runtime_checkable

from mobilenet_hub.catalog import ModuleInfo
from mobilenet_hub.errors import InputTypeError
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.identify import check_network, identify_module
from mobilenet_hub.weights.random_weights import random_weights
from mobilenet_hub.weights.readers import read_module
from mobilenet_hub.weights.storage.store import handle_or_path, load_weights


@runtime_checkable
class Trained(Protocol):
    """Something whose weights may change: a module in training, a `KerasLayer`, a `hub.load`."""

    info: ModuleInfo

    def current_weights(self) -> Weights:
        """The weights as they are now; the same object as last time if they did not change."""


Spec = str | PathLike[str] | ModuleInfo | Weights | Trained
WeightsLike = Weights | str | PathLike[str] | None


@dataclass(frozen=True, slots=True)
class Resolved:
    """The answer.

    Attributes:
        info: the module.
        weights: to compute with, of that module's network.
        trained: what may change them later; None if nothing does.
    """

    info: ModuleInfo
    weights: Weights
    trained: Trained | None = None


def resolve(spec: Spec, weights: WeightsLike = None) -> Resolved:
    """The module that is meant, and the weights to use.

    ```python
    resolve("google/imagenet/mobilenet_v2_100_224/feature_vector").weights.tensors
    resolve("my_mobilenet_v2_1.0_224.tgz").info.handle
    ```

    Args:
        spec: a handle; the path of a file, folder or archive in any format this library reads;
            the record of a module; weights that say which module's they are, as a classifier's
            do; or something in training.
        weights: to use instead of those that `spec` stands for: as they are; the path of a file in
            any format; `"random"`.

    Raises:
        UnknownHandleError: neither a module nor a path.
        AmbiguousModuleError: a file that fits several modules and does not say which it is.
        MissingWeightsError: the published weights are not on this machine and cannot be fetched.
        WeightsError: the given ones are of another network, lack the logits, or were damaged.
        PinError, CacheError: as `storage.store.load_weights`.
        InputTypeError: a spec that is none of these.
        TypeError: weights that are none of these.
    """
    target = _target(spec)
    if isinstance(target, Path):
        info, own = read_module(target)
        return Resolved(info, own if weights is None else _given(info, weights))
    if isinstance(target, Weights):
        info = identify_module(target)
        return Resolved(info, target if weights is None else _given(info, weights))
    info = target if isinstance(target, ModuleInfo) else target.info
    if weights is not None:
        return Resolved(info, _given(info, weights))
    if isinstance(target, ModuleInfo):
        return Resolved(info, load_weights(info))
    return Resolved(info, target.current_weights(), target)


def module_of(spec: Spec) -> ModuleInfo:
    """The module that is meant; its weights are read only if nothing else tells.

    Raises:
        UnknownHandleError, AmbiguousModuleError, WeightsError, InputTypeError: as `resolve`.
    """
    target = _target(spec)
    if isinstance(target, Path):
        return read_module(target)[0]
    if isinstance(target, Weights):
        return identify_module(target)
    return target if isinstance(target, ModuleInfo) else target.info


def _target(spec: Spec) -> ModuleInfo | Path | Weights | Trained:
    if isinstance(spec, ModuleInfo | Weights | Trained):
        return spec
    if isinstance(spec, str | PathLike):
        return handle_or_path(spec)
    raise InputTypeError(
        f"Unknown module spec type: {type(spec)!r}. Expected a string, got {spec!r}: a handle "
        f"or a path, or a ModuleSpec, or something in training. Received: {spec!r}"
    )


def _given(info: ModuleInfo, weights: Weights | str | PathLike[str]) -> Weights:
    """The weights that a caller names for a module."""
    if isinstance(weights, Weights):
        check_network(info, weights)
        return weights
    if isinstance(weights, str) and weights == "random":
        return random_weights(info.network, logits=info.task == "classification")
    if isinstance(weights, str | PathLike):
        return read_module(weights, handle=info.handle, any_size=True)[1]
    raise TypeError(f"weights must be Weights, a path or 'random'. Received: {weights!r}")
