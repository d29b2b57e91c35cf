"""What a `KerasLayer` calls and returns, by `tensorflow_hub`'s rules: the same for both Keras."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenet_hub.catalog import ModuleInfo, find
from mobilenet_hub.errors import KerasLayerError, UnknownHandleError
from mobilenet_hub.networks import INPUT_RANGE, NUM_CLASSES, Network, network
from mobilenet_hub.signatures.loaded import BaseLoaded
from mobilenet_hub.signatures.module import checked_momentum, checked_tags
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.identify import known_handle
from mobilenet_hub.weights.resolve import resolve
from mobilenet_hub.weights.storage.store import is_here, load_weights


@dataclass(frozen=True, slots=True)
class LayerCall:
    """What a layer calls of its module, with what, and what it returns.

    Attributes:
        function: the module, or one of its signatures.
        takes_training: whether it has an argument `training`.
        signature: its name; None for the module itself.
        as_dict: whether all outputs of the signature are returned.
        output_key: which output is returned, of a dict of them.
        arguments: further keyword arguments of each call.
    """

    function: Callable[..., Any]
    takes_training: bool
    signature: str | None
    as_dict: bool | None
    output_key: str | None
    arguments: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        module: Any,
        signature: str | None,
        as_dict: bool | None,
        output_key: str | None,
        arguments: Mapping[str, Any] | None,
    ) -> LayerCall:
        """What the arguments of a layer ask for.

        Args:
            module: what `hub.load` gives, or any callable.
            signature: see the attributes; modules in the TF1 format (version 3 and before) have
                `default` here.
            as_dict: see there; so for the next two.
            output_key: needs a dict of outputs.
            arguments: those of known modules are checked.

        Raises:
            KerasLayerError: they contradict each other, or what the module has.
            InputError: a momentum outside [0,1].
        """
        if getattr(module, "_is_hub_module_v1", False):
            signature = signature or "default"
            output_key = output_key or (None if as_dict else "default")
        function = _function(module, signature)
        if signature and (output_key is not None) == bool(as_dict):
            raise KerasLayerError(
                "When using a signature, either output_key or signature_outputs_as_dict=True "
                f"should be set. Received: signature={signature!r}, output_key={output_key!r}, "
                f"signature_outputs_as_dict={as_dict!r}"
            )
        if as_dict and not signature:
            raise KerasLayerError(
                "signature_outputs_as_dict is only valid if specifying a signature (or using a "
                f"legacy TF1 Hub format). Received: signature={signature!r}"
            )
        info = module.info if isinstance(module, BaseLoaded) else None
        given = checked_arguments(arguments, info)
        if isinstance(module, BaseLoaded):
            returns_dict = signature or given.get("return_endpoints")
            _entry(module.signature_outputs(signature) if returns_dict else None, output_key)
        takes_training = _takes_training(function)
        return cls(function, takes_training, signature, as_dict, output_key, given)

    def __call__(self, inputs: Any, **training: bool) -> Any:
        """What the layer returns of its inputs: a tensor, or a dict of them by name.

        Raises:
            KerasLayerError: the output has no such key.
        """
        args, given = [inputs], dict(self.arguments)
        if self.signature and isinstance(inputs, Mapping):
            args, given = [], given | dict(inputs)
        return _entry(self.function(*args, **training, **given), self.output_key)

    def get_config(self) -> dict[str, Any]:
        """What a layer's config says of it.

        Raises:
            KerasLayerError: arguments that no file can hold.
        """
        for key, value in self.arguments.items():
            try:
                json.dumps(value)
            except TypeError as error:
                raise KerasLayerError(
                    "`hub.KerasLayer(..., arguments)` contains non json-serializable values in "
                    f"key: {key}. Received: {value!r}"
                ) from error
        return {
            "arguments": dict(self.arguments),
            "signature": self.signature,
            "signature_outputs_as_dict": self.as_dict,
            "output_key": self.output_key,
        }


def _entry(result: Any, key: str | None) -> Any:
    if key is None:
        return result
    if not isinstance(result, Mapping):
        raise KerasLayerError(
            "Specifying `output_key` is forbidden if output type is not a dict: give a signature, "
            f"or arguments=dict(return_endpoints=True). Received: output_key={key!r}"
        )
    if key not in result:
        raise KerasLayerError(
            f"KerasLayer output does not contain the output key {key} "
            f"(available: {list(result)}). Received: {key!r}"
        )
    return result[key]


def check_handle(handle: Any, tags: Collection[str] | None, load_options: Any) -> None:
    """Refuse tags that no module has, and what is for a handle only.

    Raises:
        KerasLayerError: a callable with tags or load options.
        TagsError: there is no such graph variant.
    """
    for name, value in (("tags", tags), ("load_options", load_options)):
        if callable(handle) and value is not None:
            raise KerasLayerError(
                "Passing a callable handle is mutually exclusive with setting "
                f"{name}. Received: {name}={value!r}"
            )
    if tags:
        checked_tags(tags, "serve")


def resolve_config(options: dict[str, Any]) -> tuple[ModuleInfo, Network, Weights | None]:
    """What the config of a layer names: its module, its network, and its weights, taken out of it.

    Args:
        options: the config; `tensorflow_hub`'s has neither `module` nor `num_classes`.

    Returns:
        The weights are those of a path that is there, or the published ones if they are on this
        machine; else None: the file that is being loaded brings them.

    Raises:
        UnknownHandleError: a path that is not there, in a config that names no module.
        WeightsError: as `weights.resolve.resolve`.
    """
    handle, module = options.pop("handle"), options.pop("module", None)
    classes, hidden = options.pop("num_classes", NUM_CLASSES), options.pop("hidden_units", None)
    input_range = tuple(options.pop("input_range", INPUT_RANGE))
    found = None
    try:
        info = find(handle)
    except UnknownHandleError:
        if Path(handle).expanduser().exists():
            found = resolve(handle)
        elif module is None:
            raise
        info = find(module) if found is None else found.info
    net = network(
        info.family,
        info.depth_multiplier,
        classes,
        hidden_units=hidden,
        input_range=input_range,
    )
    if found is not None:
        net = found.weights.network if module is None else net
        return info, net, found.weights if found.weights.network == net else None
    return info, net, load_weights(info) if net == info.network and is_here(info) else None


def network_config(handle: str, info: ModuleInfo, net: Network) -> dict[str, Any]:
    """What a config says besides the handle: nothing, where that is of the network; else of which.

    So a config of a published module has no keys that `tensorflow_hub` does not know.
    """
    if known_handle(handle) == info and net == info.network:
        return {}
    return {
        "module": info.handle,
        "num_classes": net.num_classes,
        "hidden_units": net.hidden and net.hidden.out_channels,
        "input_range": net.input_range,
    }


def _function(module: Any, signature: str | None) -> Callable[..., Any]:
    if not signature:
        if not callable(module):
            raise KerasLayerError(f"Loaded object is not callable. Received: {module!r}")
        function: Callable[..., Any] = module
        return function
    if isinstance(module, BaseLoaded):
        return module.signature(signature)
    if not hasattr(module, "signatures"):
        raise KerasLayerError(f"Loaded object has no signatures. Received: signature={signature!r}")
    if signature not in module.signatures:
        raise KerasLayerError(
            f"Unknown signature {signature} in {module!r} (available signatures: "
            f"{sorted(module.signatures)}). Received: {signature!r}"
        )
    chosen: Callable[..., Any] = module.signatures[signature]
    return chosen


def _takes_training(function: Any) -> bool:
    """Whether a callable has an argument `training`; what TensorFlow restored says so of itself."""
    for call in (function, function.__call__):
        if (spec := getattr(call, "function_spec", None)) is not None:
            return "training" in (*spec.fullargspec.args, *spec.fullargspec.kwonlyargs)
    return "training" in inspect.signature(function).parameters


def checked_arguments(
    arguments: Mapping[str, Any] | None, info: ModuleInfo | None
) -> dict[str, Any]:
    """The arguments of each call; checked, if it is known what is called.

    Raises:
        KerasLayerError: unknown, or not for this version of the module.
        InputError: a momentum outside [0,1].
    """
    if not isinstance(arguments, Mapping | None):
        raise KerasLayerError(
            "arguments must be a dict, such as {'batch_norm_momentum': 0.997}. "
            f"Received: {arguments!r}"
        )
    given = dict(arguments or {})
    if info is None:
        return given
    if unknown := sorted(set(given) - {"batch_norm_momentum", "return_endpoints"}):
        raise KerasLayerError(
            "arguments may have batch_norm_momentum and return_endpoints. "
            f"Received: {', '.join(map(repr, unknown))}"
        )
    if "batch_norm_momentum" in given and not info.configurable_momentum:
        raise KerasLayerError(
            f"batch_norm_momentum can be chosen from version 3 on. Received: {info.handle}"
        )
    if "batch_norm_momentum" in given:
        checked_momentum(given["batch_norm_momentum"])
    return given


def check_output_shape(expected: Any, outputs: Any, name: str) -> None:
    """Compare shapes without the batch; None fits any size.

    Args:
        expected: a shape, or a dict of them as the outputs are.
        outputs: tensors.
        name: of what computed them, for the message.

    Raises:
        KerasLayerError: they disagree.
    """
    if isinstance(outputs, Mapping):
        if not isinstance(expected, Mapping) or expected.keys() != outputs.keys():
            raise KerasLayerError(
                f"output_shape must be a dict with the keys {list(outputs)}, as the output is. "
                f"Received: {expected!r}"
            )
        for key, value in expected.items():
            check_output_shape(value, outputs[key], name)
        return
    wanted = [expected] if isinstance(expected, int) else list(expected)
    actual = list(outputs.shape[1:])
    fits = len(wanted) == len(actual) and all(
        None in pair or pair[0] == pair[1] for pair in zip(wanted, actual, strict=True)
    )
    if not fits:
        raise KerasLayerError(
            f"output_shape of {name} is {actual} (without the batch). Received: {wanted}"
        )
