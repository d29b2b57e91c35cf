"""What a `KerasLayer` may be told about its calls and its output, as `tensorflow_hub` words it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mobilenet_hub.catalog import ModuleInfo
from mobilenet_hub.errors import KerasLayerError
from mobilenet_hub.signatures import checked_momentum


def checked_arguments(arguments: Mapping[str, Any] | None, info: ModuleInfo) -> dict[str, Any]:
    """The arguments of each call.

    Raises:
        KerasLayerError: unknown, not for this version, or not to be written into a config.
        InputError: a momentum outside [0,1].
    """
    if not isinstance(arguments, Mapping | None):
        raise KerasLayerError(
            "arguments must be a dict, such as {'batch_norm_momentum': 0.997}. "
            f"Received: {arguments!r}"
        )
    given = dict(arguments or {})
    if unknown := sorted(set(given) - {"batch_norm_momentum", "return_endpoints"}):
        raise KerasLayerError(
            "arguments may have batch_norm_momentum and return_endpoints. "
            f"Received: {', '.join(map(repr, unknown))}"
        )
    try:
        json.dumps(given)
    except TypeError as error:
        raise KerasLayerError(
            "`hub.KerasLayer(..., arguments)` contains non json-serializable values in "
            f"dictionary. Received: {given}"
        ) from error
    if "batch_norm_momentum" in given and not info.configurable_momentum:
        raise KerasLayerError(
            f"batch_norm_momentum can be chosen from version 3 on. Received: {info.handle}"
        )
    if "batch_norm_momentum" in given:
        checked_momentum(given["batch_norm_momentum"])
    return given


def check_output_shape(expected: Any, outputs: Any, info: ModuleInfo) -> None:
    """Compare shapes without the batch; None fits any size.

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
            check_output_shape(value, outputs[key], info)
        return
    wanted = [expected] if isinstance(expected, int) else list(expected)
    actual = list(outputs.shape[1:])
    fits = len(wanted) == len(actual) and all(
        None in pair or pair[0] == pair[1] for pair in zip(wanted, actual, strict=True)
    )
    if not fits:
        raise KerasLayerError(
            f"output_shape of {info.handle} is {actual} (without the batch). Received: {wanted}"
        )
