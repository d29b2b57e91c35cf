"""What `keras.applications` calls each variable of a MobileNet, and TF-Slim's name for it.

Keras names layers, not scopes: a convolution, its batch norm and its activation are three layers
(keras/applications/mobilenet.py and mobilenet_v2.py). Layouts are the same but for the logits,
which V2 has as a dense layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.readers.base import LAST_CONVOLUTIONS, UnreadHeadError

_BLOCKS = 17  # of V2, expanded_conv (0) to expanded_conv_16
_V1_PAIRS = 13
_STATISTICS = ("gamma", "beta", "moving_mean", "moving_variance")
_LOGITS_NAMES = {"weights": ("kernel", "0"), "biases": ("bias", "1")}

_OLD_V2_LOGITS = "Logits"  # before Keras 2.3


@cache
def layer_table() -> Mapping[str, tuple[str, bool]]:
    """Keras layer name to TF-Slim scope, and whether it is that scope's batch norm."""
    table: dict[str, tuple[str, bool]] = {
        "conv1": ("MobilenetV1/Conv2d_0", False),
        "conv1_bn": ("MobilenetV1/Conv2d_0", True),
        "conv_preds": ("MobilenetV1/Logits/Conv2d_1c_1x1", False),
        "Conv1": ("MobilenetV2/Conv", False),
        "bn_Conv1": ("MobilenetV2/Conv", True),
        "Conv_1": ("MobilenetV2/Conv_1", False),
        "Conv_1_bn": ("MobilenetV2/Conv_1", True),
        "predictions": ("MobilenetV2/Logits/Conv2d_1c_1x1", False),
        _OLD_V2_LOGITS: ("MobilenetV2/Logits/Conv2d_1c_1x1", False),
    }
    for number in range(1, _V1_PAIRS + 1):
        for short, long in (("dw", "depthwise"), ("pw", "pointwise")):
            scope = f"MobilenetV1/Conv2d_{number}_{long}"
            table[f"conv_{short}_{number}"] = (scope, False)
            table[f"conv_{short}_{number}_bn"] = (scope, True)
    for block in range(_BLOCKS):
        keras, slim = (
            (f"block_{block}", f"expanded_conv_{block}") if block else ("expanded_conv",) * 2
        )
        for part in ("expand", "depthwise", "project") if block else ("depthwise", "project"):
            table[f"{keras}_{part}"] = (f"MobilenetV2/{slim}/{part}", False)
            table[f"{keras}_{part}_BN"] = (f"MobilenetV2/{slim}/{part}", True)
    return table


def slim_name(layer: str, variable: str) -> str | None:
    """TF-Slim's name of a Keras variable; None if the layer is none of a MobileNet's.

    Args:
        layer: name of the Keras layer.
        variable: `kernel`, `depthwise_kernel`, `bias`, `gamma`, ...; or, as Keras 3's own formats
            have it, the variable's position in its layer.
    """
    if (entry := layer_table().get(layer)) is None:
        return None
    scope, batch_norm = entry
    if batch_norm:
        if variable.isdecimal() and int(variable) < len(_STATISTICS):
            variable = _STATISTICS[int(variable)]
        return f"{scope}/BatchNorm/{variable}" if variable in _STATISTICS else None
    if "/Logits/" in scope:
        named = (name for name, known in _LOGITS_NAMES.items() if variable in known)
        return next((f"{scope}/{name}" for name in named), None)
    if scope.endswith("depthwise"):
        known = variable in ("depthwise_kernel", "kernel", "0")
        return f"{scope}/depthwise_weights" if known else None
    return f"{scope}/weights" if variable in ("kernel", "0") else None


def select(names: Iterable[tuple[str, tuple[str, ...]]], where: str) -> dict[str, str]:
    """Pick the variables of the one MobileNet that a Keras file holds.

    Args:
        names: of each variable, its key in the file, and the parts of its path there: scopes and
            layers from outermost to innermost, then the variable.
        where: the file, for error messages.

    Returns:
        TF-Slim name to key.

    Raises:
        WeightsError: the file holds no MobileNet, or several.
    """
    paths = list(names)
    found = _found(paths, where)
    families = sorted({name.partition("/")[0] for name in found if "/Logits/" not in name})
    if not families:
        shown = ", ".join(repr(key) for key, _ in paths[:5]) or "nothing"
        raise WeightsError(
            f"{where} holds no MobileNet: expected the layer names of keras.applications "
            f"(conv_dw_1, block_1_expand, ...) or TF-Slim's (MobilenetV2/Conv/weights, ...). "
            f"Received: {shown}{f' and {len(paths) - 5} more' if len(paths) > 5 else ''}"
        )
    if len(families) > 1:
        raise WeightsError(
            f"{where} holds several networks: save the one you want alone. "
            f"Received: {' and '.join(families)}"
        )
    # A head of one's own may be called `predictions` as well, on whichever network.
    return {name: key for name, key in found.items() if name.startswith(f"{families[0]}/")}


def _found(paths: Sequence[tuple[str, tuple[str, ...]]], where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, (*scopes, variable) in paths:
        # Innermost first; `conv1/conv1_1/kernel` is layer conv1, built for a second time.
        candidates = (slim_name(scope, variable) for scope in reversed(scopes))
        name = next((candidate for candidate in candidates if candidate is not None), None)
        if name is None:
            continue
        if name in found:
            raise WeightsError(
                f"{where} holds several networks, or one twice: save the one you want alone. "
                f"Received: {found[name]!r} and {key!r}, both {name}"
            )
        found[name] = key
    return found


def as_convolution(
    tensors: Mapping[str, NDArray[np.float32]], where: str
) -> tuple[dict[str, NDArray[np.float32]], UnreadHeadError | None]:
    """The logits as TF-Slim has them: a 1×1 convolution of the features, where Keras has a matrix.

    Args:
        tensors: by their TF-Slim names.
        where: the file, for the message.

    Returns:
        All tensors; without the logits, and why, if a variable of theirs is not there, or if they
        take something else than the features.
    """
    if any("/Logits/Hidden/" in name for name in tensors):  # a model of this library's own
        return dict(tensors), None
    result = {name: array for name, array in tensors.items() if "/Logits/" not in name}
    head = {name.rpartition("/")[2]: name for name in tensors if "/Logits/" in name}
    if not head:
        return result, None
    last = next((result[name] for name in LAST_CONVOLUTIONS if name in result), None)
    shapes = {part: tensors[name].shape for part, name in head.items()}
    takes = last is None or shapes.get("weights", (0, 0))[-2:-1] == last.shape[-1:]
    if set(head) != {"weights", "biases"} or not takes:
        wanted = "a layer that takes the features, with a bias for each output"
        return result, UnreadHeadError(where, wanted, shapes)
    kernel, biases = tensors[head["weights"]], tensors[head["biases"]]
    if kernel.ndim == 2:
        kernel = kernel[np.newaxis, np.newaxis]
    return {**result, head["weights"]: kernel, head["biases"]: biases}, None
