"""The 1001 class names of ImageNet as these networks index them: `background` first."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def imagenet_labels() -> tuple[str, ...]:
    """Class names by logit index.

    Source: `ImageNetLabels.txt`, the file that the module pages name.
    """
    text = files("mobilenet_hub").joinpath("data/ImageNetLabels.txt").read_text("utf-8")
    return tuple(text.splitlines())
