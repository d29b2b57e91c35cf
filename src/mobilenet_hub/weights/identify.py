"""Which module a set of tensors belongs to.

Shapes tell the family and the depth multiplier. Networks of several image sizes share all their
shapes, so the size has to come from elsewhere: the handle somebody gives, the file's own metadata,
or a name such as `mobilenet_v2_1.0_224.tgz`.
"""

from __future__ import annotations

import hashlib
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
    any_size: bool = False,
) -> ModuleInfo:
    """The module that weights are of.

    Args:
        weights: whose metadata may name a handle.
        handle: what somebody says they are; decides, if the network agrees, and the image size.
        names: of the file, its folder, the model in it: may hold a multiplier and a size.
        image_size: in pixels, where the file tells it.
        any_size: whether the handle's image size may be another than the file tells.

    Returns:
        The module of that handle; else the newest one of the checkpoint, a classifier if the
        weights have logits.

    Raises:
        UnknownHandleError: the handle names no module.
        WeightsError: the handle names another network, or another size than the file itself.
        AmbiguousModuleError: nothing says which size they were trained for; names the candidates.
    """
    possible = possible_modules(
        weights, handle=handle, names=names, image_size=image_size, any_size=any_size
    )
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
    any_size: bool = False,
) -> list[ModuleInfo]:
    """The modules that weights may be of: one, or several that differ in image size only.

    Args and raises: as `identify_module`, which wants one.
    """
    where = weights.metadata.get("source", "this file")
    possible = candidates(weights.network, classification=weights.has_logits)
    own = weights.metadata.get("handle")
    sizes = {record.image_size for record in possible}
    told = _told_size(known_handle(own or ""), sizes, names, weights.network, image_size)
    if handle or own:
        record = find(handle or own or "")
        check_network(record, weights)
        if told not in (None, record.image_size) and not any_size:
            raise WeightsError(
                f"{where} says itself that it is for images of {told}×{told} pixels, and "
                f"{record.handle} takes {record.image_size}×{record.image_size}. If you mean it: "
                f"`import --force`, or hub.Module(HANDLE, weights=FILE). Received: "
                f"{record.handle!r}"
            )
        return [record]
    if not possible:
        raise WeightsError(
            f"{where} holds a network that no module of the catalogue has. Received: "
            f"{weights.network.family} with depth multiplier {weights.network.depth_multiplier}"
        )
    return [record for record in possible if record.image_size == told] or possible


def _told_size(
    own: ModuleInfo | None,
    sizes: set[int],
    names: Iterable[str],
    network: Network,
    image_size: int | None,
) -> int | None:
    """The image size that a file tells, of those there are; None if it tells none, or several.

    Its metadata and its names say what it was trained for; its input, at least what it is used for.
    """
    if own is not None:
        return own.image_size
    named = _named_sizes(names, network) & sizes
    for found in (named, {image_size} & sizes):
        if len(found) == 1:
            return found.pop()
    return None


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


def check_classes(record: ModuleInfo, weights: Weights) -> None:
    """Refuse classifiers of other classes than ImageNet's as those of a published module.

    Raises:
        WeightsError: for such weights.
    """
    if not weights.is_imagenet:
        raise WeightsError(
            f"{weights.metadata.get('source', 'this file')} classifies {len(weights.labels)} "
            f"classes that are not the 1001 of {record.handle}, and is not kept in its place: use "
            f"it by its path, hub.Module(FILE), or `import FILE --output OUT`. "
            f"Received: classes {', '.join(weights.labels[:5])}, ..."
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


def hashed_handle(name: str) -> ModuleInfo | None:
    """The module whose folder `tensorflow_hub` calls this in its cache: the sha1 of its URL."""
    if not re.fullmatch(r"[0-9a-f]{40}", name):
        return None
    return next((r for r in modules().values() if sha1_of(r.url) == name), None)


def sha1_of(url: str) -> str:
    """What `tensorflow_hub` calls the folder of a module in its cache."""
    return hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()


def known_handle(text: str) -> ModuleInfo | None:
    """The module of a handle, or None for a text that is none."""
    try:
        return find(text)
    except UnknownHandleError:
        return None
