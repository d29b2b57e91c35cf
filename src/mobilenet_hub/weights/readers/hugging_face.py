"""safetensors files of others: Hugging Face transformers' MobileNets, converted exactly.

`google/mobilenet_v1_*` and `google/mobilenet_v2_*` hold Google's checkpoints with 1001 classes,
under the names of transformers' classes (MobileNetV1ForImageClassification,
MobileNetV2ForImageClassification). Padding and epsilon there are TensorFlow's, so that only names
and layouts differ. timm's and torchvision's MobileNets are other trainings of other networks:
symmetric padding and, mostly, epsilon 1e-5; they are told apart by their names and refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.networks import BATCH_NORM_EPSILON
from mobilenet_hub.weights.readers.base import Array, Reading, damaged, finished, read_file
from mobilenet_hub.weights.readers.keras import names as keras_names

MAX_CONFIG_BYTES = 1 << 20

_CONVOLUTION = re.compile(
    r"(?:mobilenet_v(?P<family>[12])\.)?"
    r"(?P<layer>conv_stem(?:\.\w+)?|layer\.\d{1,2}(?:\.\w+)?|conv_1x1)\."
    r"(?P<variable>convolution\.weight|normalization\.\w+)",
    re.ASCII,
)
_STATISTICS = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
_V2_PARTS = {"expand_1x1": "expand", "conv_3x3": "depthwise", "reduce_1x1": "project"}
_V2_STEM = {
    "first_conv": "MobilenetV2/Conv",
    "conv_3x3": "MobilenetV2/expanded_conv/depthwise",
    "reduce_1x1": "MobilenetV2/expanded_conv/project",
}
_CLASSIFIER = {"classifier.weight": "weights", "classifier.bias": "biases"}

# Whose names these are, and why their weights cannot be used.
_OTHERS = (
    (
        re.compile(r"features\.\d+\.(\d+|conv\.)"),
        "torchvision's MobileNetV2, which was trained anew with symmetric padding and epsilon 1e-5",
    ),
    (
        re.compile(r"blocks\.\d+\.\d+\.(conv_(dw|pw|pwl|exp)|bn\d)"),
        "timm's MobileNet, which was trained anew with symmetric padding and an epsilon of its own",
    ),
)


def read_hugging_face(
    tensors: Mapping[str, NDArray[Any]], where: str, config: Mapping[str, Any] | None = None
) -> Reading:
    """Convert the tensors of transformers' MobileNetV1 or MobileNetV2.

    Args:
        tensors: name to array, as in `model.safetensors`.
        where: the file, for messages.
        config: what `config.json` beside it says, where there is one.

    Raises:
        WeightsError: they are timm's, torchvision's, a segmentation network's, or nobody's; or the
            configuration is not that of Google's networks.
    """
    refuse_others(tensors, where)
    if any(name.startswith("segmentation_head.") for name in tensors):
        raise WeightsError(
            f"{where} is a segmentation network (DeepLab), trained for another task: none of the "
            f"modules. Take a google/mobilenet_v2_*_* repository. Received: segmentation_head.*"
        )
    _check_config(config or {}, where)
    family = _family(tensors, where)
    converted: dict[str, Array] = {}
    unknown: list[str] = []
    for name, tensor in tensors.items():
        if name.endswith("num_batches_tracked"):
            continue
        slim = _slim_name(name, family)
        if slim is None or slim in converted:
            unknown.append(name)
            continue
        converted[slim] = _layout(slim, tensor, where)
    if unknown:
        raise WeightsError(
            f"{where}: expected only the tensors of transformers' MobileNetV{family}. "
            f"Received also: {', '.join(sorted(unknown)[:10])}"
        )
    converted, unread = keras_names.as_convolution(converted, where)
    size = (config or {}).get("image_size")
    return Reading(
        finished(converted),
        "Hugging Face safetensors",
        image_size=size if type(size) is int else None,
        unread=unread,
        labels=_labels(config or {}),
    )


def _labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """What the configuration calls the classes; none if it does not name them all."""
    names = config.get("id2label")
    if not isinstance(names, dict):
        return ()
    found = [names.get(str(number)) for number in range(len(names))]
    texts = [name for name in found if isinstance(name, str)]
    return tuple(texts) if len(texts) == len(found) else ()


def refuse_others(names: Iterable[str], where: str) -> None:
    """Raise WeightsError for timm's and torchvision's names."""
    for name in names:
        for pattern, whose in _OTHERS:
            if pattern.search(name):
                raise WeightsError(
                    f"{where} is {whose}: it is another network than Google's, and no module of "
                    f"the catalogue. Take Google's checkpoint, or google/mobilenet_v2_1.0_224 and "
                    f"its like from Hugging Face. Received: {name!r}"
                )


def read_config(path: str | PathLike[str]) -> dict[str, Any]:
    """`config.json` beside a file of Hugging Face; empty where there is none.

    Raises:
        WeightsError: it is not a JSON object.
    """
    config = Path(path).with_name("config.json")
    if not config.exists():
        return {}
    data = read_file(config, "The config.json beside it", MAX_CONFIG_BYTES)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise damaged(str(config), "JSON", error) from error
    if not isinstance(value, dict):
        raise damaged(str(config), "a JSON object", type(value).__name__)
    return value


def _check_config(config: Mapping[str, Any], where: str) -> None:
    expected = {
        "tf_padding": True,
        "layer_norm_eps": BATCH_NORM_EPSILON,
        "hidden_act": "relu6",
        "output_stride": 32,
        "expand_ratio": 6,
        "first_layer_is_expansion": True,
        "finegrained_output": True,
    }
    wrong = {key: config[key] for key, value in expected.items() if config.get(key, value) != value}
    if wrong:
        raise WeightsError(
            f"{where} is not Google's network: expected the configuration "
            f"{ {key: expected[key] for key in wrong} }. Received: {wrong}"
        )


def _family(names: Iterable[str], where: str) -> str:
    matches = [match for name in names if (match := _CONVOLUTION.fullmatch(name))]
    if not matches:
        shown = ", ".join(map(repr, list(names)[:5])) or "nothing"
        raise WeightsError(
            f"{where} holds no MobileNet: expected TF-Slim's names (MobilenetV2/Conv/weights, ...) "
            f"or those of transformers (mobilenet_v2.conv_stem.first_conv.convolution.weight, "
            f"...). Received: {shown}"
        )
    # The bare backbone has no prefix; only V2's stem has several convolutions.
    families = {match["family"] for match in matches} - {None}
    if len(families) > 1:
        raise WeightsError(f"{where} holds several networks. Received: V1 and V2")
    if families:
        return str(families.pop())
    return "2" if any(match["layer"].startswith("conv_stem.") for match in matches) else "1"


def _slim_name(name: str, family: str) -> str | None:
    if name in _CLASSIFIER:
        return f"MobilenetV{family}/Logits/Conv2d_1c_1x1/{_CLASSIFIER[name]}"
    match = _CONVOLUTION.fullmatch(name)
    if match is None:
        return None
    layer, variable = match["layer"].split("."), match["variable"]
    scope = _v1_scope(layer) if family == "1" else _v2_scope(layer)
    if scope is None:
        return None
    if variable == "convolution.weight":
        return f"{scope}/{'depthwise_weights' if scope.endswith('depthwise') else 'weights'}"
    statistic = _STATISTICS.get(variable.removeprefix("normalization."))
    return f"{scope}/BatchNorm/{statistic}" if statistic else None


def _v1_scope(layer: list[str]) -> str | None:
    """`conv_stem`; then `layer.N`, depthwise and pointwise in turn."""
    if layer == ["conv_stem"]:
        return "MobilenetV1/Conv2d_0"
    if len(layer) != 2 or layer[0] != "layer":
        return None
    pair, pointwise = divmod(int(layer[1]), 2)
    return f"MobilenetV1/Conv2d_{pair + 1}_{'pointwise' if pointwise else 'depthwise'}"


def _v2_scope(layer: list[str]) -> str | None:
    """`conv_stem.*` with the first block in it; then `layer.N.*` from the second block on."""
    if layer == ["conv_1x1"]:
        return "MobilenetV2/Conv_1"
    if layer[0] == "conv_stem" and len(layer) == 2:
        return _V2_STEM.get(layer[1])
    if len(layer) == 3 and layer[2] in _V2_PARTS:
        return f"MobilenetV2/expanded_conv_{int(layer[1]) + 1}/{_V2_PARTS[layer[2]]}"
    return None


def _layout(slim: str, tensor: NDArray[Any], where: str) -> Array:
    """From OIHW (depthwise: C1HW; linear: OI) to HWIO (HWC1; 11IO)."""
    if tensor.dtype.kind != "f":
        raise WeightsError(f"{where}: {slim} must be float. Received: {tensor.dtype}")
    array: Array = tensor.astype(np.float32, copy=False)
    if slim.endswith("/depthwise_weights") and array.ndim == 4:
        return array.transpose(2, 3, 0, 1)
    if slim.endswith("/weights") and array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    if slim.endswith("/weights") and array.ndim == 2:
        return array.T[np.newaxis, np.newaxis]
    return array
