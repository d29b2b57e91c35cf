"""Which module a set of tensors belongs to.

Shapes tell the family and the depth multiplier. Networks of several image sizes share all their
shapes, so the size has to come from elsewhere: the handle somebody gives, the file's own metadata,
or a name such as `mobilenet_v2_1.0_224.tgz`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mobilenet_hub.catalog import ModuleInfo, find, modules
from mobilenet_hub.errors import AmbiguousModuleError, UnknownHandleError, WeightsError
from mobilenet_hub.networks import Network

if TYPE_CHECKING:
    from mobilenet_hub.weights.canonical import Weights

# mobilenet_v2_1.0_224, mobilenet_v2_100_224, mobilenetv2_0.35_96, mobilenet_1_0_224_tf (Keras V1),
# mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224, and Kaggle's bare 035-224.
_NAME = re.compile(
    r"mobilenet(?:[_-]?v(?P<family>[12]))?(?:_weights_tf_dim_ordering_tf_kernels)?[_-]"
    r"(?P<multiplier>[01][._]\d{1,2}|[2575]{1,2}_[05]|\d{2,3})[_-](?P<size>\d{2,3})(?!\d)",
    re.IGNORECASE | re.ASCII,
)
_KAGGLE = re.compile(r"(?<!\d)(?P<multiplier>\d{3})-(?P<size>\d{2,3})-(classification|feature)")
# Keras' V1 files write 0.25 as `2_5`, 0.5 as `5_0`, 0.75 as `7_5`, 1.0 as `1_0`.
_KERAS_V1 = {"2_5": 25, "5_0": 50, "7_5": 75, "1_0": 100}


def candidates(network: Network, *, classification: bool) -> list[ModuleInfo]:
    """The newest module of each checkpoint with this network, in published order."""
    task = "classification" if classification else "feature_vector"
    newest: dict[str, ModuleInfo] = {}
    for record in modules().values():
        if (
            (record.family, record.depth_multiplier) == (network.family, network.depth_multiplier)
            and record.task == task
            and record.collection == "imagenet"
        ):
            newest[record.checkpoint_key] = record  # versions ascend
    return list(newest.values())


def identify_module(
    weights: Weights,
    *,
    handle: str | None = None,
    names: Iterable[str] = (),
    image_size: int | None = None,
) -> ModuleInfo:
    """The module that weights are of.

    Args:
        weights: whose metadata may name a handle.
        handle: what somebody says they are; decides, if the network agrees.
        names: of the file, its folder, the model in it: may hold a multiplier and a size.
        image_size: in pixels, where the file tells it.

    Returns:
        The module of that handle; else the newest one of the checkpoint, a classifier if the
        weights have logits.

    Raises:
        UnknownHandleError: the handle names no module.
        WeightsError: the handle names another network.
        AmbiguousModuleError: nothing says which size they were trained for; names the candidates.
    """
    possible = possible_modules(weights, handle=handle, names=names, image_size=image_size)
    if len(possible) > 1:
        where = weights.metadata.get("source", "this file")
        raise AmbiguousModuleError(where, [record.handle for record in possible])
    return possible[0]


def possible_modules(
    weights: Weights,
    *,
    handle: str | None = None,
    names: Iterable[str] = (),
    image_size: int | None = None,
) -> list[ModuleInfo]:
    """The modules that weights may be of: one, or several that differ in image size only.

    Args and raises: as `identify_module`, which wants one.
    """
    handle = handle or weights.metadata.get("handle")
    if handle:
        record = find(handle)
        check_network(record, weights)
        return [record]
    possible = candidates(weights.network, classification=weights.has_logits)
    if len(possible) > 1:
        # Names say what it was trained for; its input, at least what it is used for.
        for sizes in (_named_sizes(names, weights.network), {image_size}):
            narrowed = [record for record in possible if record.image_size in sizes]
            if len(narrowed) == 1:
                return narrowed
    if not possible:
        raise WeightsError(
            f"{weights.metadata.get('source', 'this file')} holds a network that no module of the "
            f"catalogue has. Received: "
            f"{weights.network.family} with depth multiplier {weights.network.depth_multiplier}"
        )
    return possible


def check_network(record: ModuleInfo, weights: Weights) -> None:
    """Refuse weights that a module cannot compute with.

    Raises:
        WeightsError: they are of another network, or lack the classification layer.
    """
    where, net = weights.metadata.get("source", "this file"), weights.network
    if (record.family, record.depth_multiplier) != (net.family, net.depth_multiplier):
        raise WeightsError(
            f"{where} does not hold the network of {record.handle}: expected {record.family} with "
            f"depth multiplier {record.depth_multiplier}. "
            f"Received: {net.family} with depth multiplier {net.depth_multiplier}"
        )
    if record.task == "classification" and not weights.has_logits:
        raise WeightsError(
            f"{where} ends at the feature vector: it serves {record.checkpoint_key}'s "
            f"feature_vector modules, not its classification ones. Received: {record.handle!r}"
        )


def _named_sizes(names: Iterable[str], network: Network) -> set[int]:
    """Sizes in names, where multiplier and family in them are the network's."""
    percent = round(network.depth_multiplier * 100)
    sizes = set()
    for name in names:
        for match in (*_NAME.finditer(name), *_KAGGLE.finditer(name)):
            groups = match.groupdict()
            family = groups.get("family")
            if family and not network.family.endswith(family):
                continue
            if _percent(groups["multiplier"]) == percent:
                sizes.add(int(groups["size"]))
    return sizes


def _percent(multiplier: str) -> int:
    if multiplier in _KERAS_V1:
        return _KERAS_V1[multiplier]
    if "." in multiplier or "_" in multiplier:
        return round(float(multiplier.replace("_", ".")) * 100)
    return int(multiplier)


def known_handle(text: str) -> ModuleInfo | None:
    """The module of a handle, or None for a text that is none."""
    try:
        return find(text)
    except UnknownHandleError:
        return None
