"""What is chosen for a training: averages, rate, which blocks, how pictures are changed."""

from __future__ import annotations

import math
from typing import Any

import keras

from mobilenet_hub.keras.network import NetworkLayer
from mobilenet_hub.settings import FineTuneSettings

_MEMORIES = 10  # how often the averages of batch norm should forget what they began with
_LEAST_MOMENTUM = 0.9
_WARM_UP = 0.1  # share of the steps in which the rate rises


def choose_momentum(settings: FineTuneSettings, steps: int) -> tuple[float, str]:
    """The momentum of the averages, batch norm's and those of the weights, and why.

    An average of momentum m remembers some 1 / (1 - m) steps. The modules' pages give 0.99 for
    small data sets, and 0.997 to advanced users. After 200 steps an average of 0.997 is still, by
    half, of the weights that the training began with, and what it gives in inference is wrong.

    Args:
        settings: where it may be said.
        steps: of the whole training.
    """
    if settings.batch_norm_momentum is not None:
        return settings.batch_norm_momentum, "as asked for"
    default = 0.99
    if steps >= _MEMORIES / (1 - default):
        return default, f"the modules' own, whose averages arrive within {steps:,} steps"
    momentum = round(max(_LEAST_MOMENTUM, 1 - _MEMORIES / max(steps, 1)), 4)
    return momentum, (
        f"in {steps:,} steps the averages of the modules' own, {default}, which remember "
        f"{round(1 / (1 - default))} steps, would not arrive"
    )


def freeze_blocks(network: NetworkLayer, layers: int | None) -> int:
    """Leave only the last blocks trainable, with batch norm and its averages; None leaves all.

    A block is an inverted residual of V2, a depthwise convolution with its pointwise one of V1, or
    a convolution that stands alone.

    Returns:
        How many convolutions are frozen: the number of the first one that is trained.
    """
    names = list(dict.fromkeys(_block(part.layer.scope) for part in network.convolutions))
    frozen = set() if layers is None else set(names[: max(0, len(names) - layers)])
    for part in network.convolutions:
        part.trainable = _block(part.layer.scope) not in frozen
    return sum(not part.trainable for part in network.convolutions)


def _block(scope: str) -> str:
    name = scope.split("/")[1]
    return name.removesuffix("_depthwise").removesuffix("_pointwise")


def learning_rate(settings: FineTuneSettings, steps: int) -> Any:
    """A schedule: rising in the first steps, then falling as half a cosine to 0."""
    warm_up = max(1, round(_WARM_UP * steps))
    return keras.optimizers.schedules.CosineDecay(
        settings.learning_rate / 100, max(1, steps - warm_up),
        warmup_target=settings.learning_rate, warmup_steps=warm_up,
    )  # fmt: skip


def augmentation_layers(
    settings: FineTuneSettings, size: tuple[int, int], seed: int
) -> list[keras.layers.Layer]:
    """What changes pictures at random, each with a seed of its own; floats in [0,1].

    Args:
        settings: what, and how much.
        size: of what comes out, (height, width).
        seed: that theirs follow.
    """
    layers, same = keras.layers, {"fill_mode": "reflect", "interpolation": "bilinear"}
    chosen: list[Any] = []
    if settings.crop:
        chosen.append(lambda seed: layers.RandomCrop(*size, seed=seed))
    if settings.flip:
        chosen.append(lambda seed: layers.RandomFlip("horizontal", seed=seed))
    if settings.scale:
        bounds = (-settings.scale, settings.scale)
        chosen.append(lambda seed: layers.RandomZoom(bounds, seed=seed, **same))
    if settings.rotation:  # Keras counts in full turns
        chosen.append(
            lambda seed: layers.RandomRotation(settings.rotation / 360, seed=seed, **same)
        )
    if settings.shear:
        most = min(1.0, math.tan(math.radians(settings.shear)))
        chosen.append(lambda seed: layers.RandomShear(most, most, seed=seed, **same))
    if settings.brightness:
        chosen.append(
            lambda seed: layers.RandomBrightness(settings.brightness, (0.0, 1.0), seed=seed)
        )
    return [make(seed + number) for number, make in enumerate(chosen, 1)]
