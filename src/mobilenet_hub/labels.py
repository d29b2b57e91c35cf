"""Names of classes by logit index: ImageNet's 1001, `background` first, or a network's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files


@cache
def imagenet_labels() -> tuple[str, ...]:
    """Class names by logit index.

    Source: `ImageNetLabels.txt`, the file that the module pages name.
    """
    text = files("mobilenet_hub").joinpath("data/ImageNetLabels.txt").read_text("utf-8")
    return tuple(text.splitlines())


def class_names(classes: int, metadata: Mapping[str, str]) -> tuple[str, ...]:
    """What the logits of some weights are called.

    Args:
        classes: how many there are.
        metadata: of the weights; a JSON list of names as `labels` came along with them.

    Returns:
        These names; of 1001 classes without any, ImageNet's; else "0", "1", ...

    Raises:
        ValueError: labels that are no list of so many texts.
    """
    if "labels" not in metadata:
        numbers = tuple(map(str, range(classes)))
        return imagenet_labels() if classes == len(imagenet_labels()) else numbers
    names = json.loads(metadata["labels"])
    if not isinstance(names, list) or len(names) != classes:
        raise ValueError(f"expected a list of {classes} labels. Received: {str(names)[:100]}")
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"expected labels that are texts. Received: {str(names)[:100]}")
    return tuple(names)
