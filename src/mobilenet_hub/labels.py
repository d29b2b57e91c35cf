"""Names of classes by logit index: ImageNet's 1001, `background` first; else numbers."""

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


@cache
def imagenet_wordnet_ids() -> tuple[str, ...]:
    """The WordNet 3.0 id of each class by logit index, `n01440764` of the tench; "" of background.

    Source: `research/slim/datasets/imagenet_lsvrc_2015_synsets.txt` of TF-Slim. ImageNet's folders
    are named so.
    """
    text = files("mobilenet_hub").joinpath("data/ImageNetWordNetIds.txt").read_text("ascii")
    return ("", *text.splitlines())


def unnamed_classes(classes: int) -> tuple[str, ...]:
    """What so many logits are called that came without names.

    Returns:
        Of 1001, ImageNet's names; else "0", "1", ...
    """
    names = imagenet_labels()
    return names if classes == len(names) else tuple(map(str, range(classes)))
