"""Which tensors of a file are the variables of a MobileNet, by their TF-Slim names.

A training checkpoint holds more than the network: slots of the optimizer (`.../weights/RMSProp`),
moving averages (`.../weights/ExponentialMovingAverage`), `global_step`. A model that uses the
network holds it below scopes of its own (`module/MobilenetV2/...`). This file picks the variables
and drops the rest, by name alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.weights.readers.base import short

TRAINED = frozenset({"weights", "depthwise_weights", "biases", "gamma", "beta"})
STATISTICS = frozenset({"moving_mean", "moving_variance"})
MOVING_AVERAGE = "ExponentialMovingAverage"
MAX_NAME = 1024  # characters; TF-Slim's longest has 67

# Optimizers of Keras keep their slots below a scope of their own: `Adam/m/MobilenetV2/...`.
OPTIMIZERS = frozenset({
    "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "ftrl", "lion",
    "loss_scale_optimizer", "momentum", "nadam", "optimizer", "rmsprop", "sgd", "training",
})  # fmt: skip
_NETWORK = re.compile(r"(?P<prefix>(?:[^/]+/)*?)(?P<scope>MobilenetV[12])/(?P<rest>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of a file's names to read.

    Attributes:
        names: canonical name to name in the file, sorted.
        prefix: the scopes above the network, such as `module/`, or nothing.
        moving_averages: whether any of the names is that of a moving average.
    """

    names: dict[str, str]
    prefix: str
    moving_averages: bool


def select(names: Iterable[str], where: str, use_ema: bool | None = None) -> Selection:
    """Pick the variables of the one network that a file holds.

    Args:
        names: all names in the file, with or without `:0`.
        where: the file, for error messages.
        use_ema: whether a trained variable (kernels, biases, gamma, beta) gives way to its
            exponential moving average where the file has one. None: for V2, not for V1. The
            published accuracy of V2 is that of the averages (tensorflow/models issue 4809: 1.0 224
            drops from 71.9 to 70.1 % without). The moving mean and variance are averages already
            and are always read as they are, even if averaged once more in the file: so do
            TF-Slim's `mobilenet_example.ipynb` and Hugging Face's conversion, whose published
            logits Google's own frozen 1.4 network has too.

    Raises:
        WeightsError: if the file holds no MobileNet, several, one trained for quantisation, or,
            with `use_ema=True`, no averages.
    """
    networks: dict[tuple[str, str], dict[str, str]] = {}
    averages: dict[tuple[str, str], dict[str, str]] = {}
    others = []
    for full_name in sorted(names):
        name = full_name.removesuffix(":0")
        match = _NETWORK.fullmatch(name) if len(name) <= MAX_NAME else None
        if not match or match["prefix"].split("/")[0].rstrip("_0123456789").lower() in OPTIMIZERS:
            others.append(full_name)
            continue
        if "act_quant/" in full_name or "weights_quant/" in full_name:
            raise WeightsError(
                f"{where} was trained for quantisation: its weights are meant to be rounded to 8 "
                f"bits and are not those of the float network. Take the archive without `quant` in "
                f"its name. Received: {full_name!r}"
            )
        name, slot = _split_slot(match["scope"], match["rest"])
        if slot is None:
            into = networks
        elif slot == MOVING_AVERAGE and name.rsplit("/", 1)[1] in TRAINED:
            into = averages
        else:
            continue
        network = into.setdefault((match["prefix"], match["scope"]), {})
        if name in network:
            raise WeightsError(f"{where} holds {name} twice. Received: {full_name!r}")
        network[name] = full_name
    return _only_network(networks, averages, others, where, use_ema)


def _only_network(
    networks: dict[tuple[str, str], dict[str, str]],
    averages: dict[tuple[str, str], dict[str, str]],
    others: list[str],
    where: str,
    use_ema: bool | None,
) -> Selection:
    found = sorted(networks.keys() | averages.keys())
    if not found:
        raise WeightsError(
            f"{where} holds no MobileNet: expected names below MobilenetV1/ or MobilenetV2/, as "
            f"TF-Slim gives them. Received: {len(others)} others, {short(others[:5])}"
        )
    if len(found) > 1:
        raise WeightsError(
            f"{where} holds several networks: save the one you want alone. "
            f"Received: {short(', '.join(prefix + scope for prefix, scope in found[:9]))}"
        )
    prefix, scope = found[0]
    names, shadows = networks.get(found[0], {}), averages.get(found[0], {})
    if use_ema and not shadows:
        raise WeightsError(
            f"{where} holds no exponential moving averages: load it without them. "
            f"Received: use_ema=True"
        )
    if use_ema or (use_ema is None and scope == "MobilenetV2"):
        names = names | shadows
    else:
        shadows = {}
    return Selection(dict(sorted(names.items())), prefix, bool(shadows))


def _split_slot(scope: str, rest: str) -> tuple[str, str | None]:
    """A variable's canonical name, and the name of its slot if it is one."""
    parts = rest.split("/")
    for index, part in enumerate(parts[:-1], start=1):
        if part in TRAINED or part in STATISTICS:
            return f"{scope}/{'/'.join(parts[:index])}", "/".join(parts[index:])
    return f"{scope}/{rest}", None
