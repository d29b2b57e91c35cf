"""Every MobileNet module that Google published on tfhub.dev, as records.

The catalogue is expanded from the two facts that define it: which networks exist (`_PUBLISHED`, one
row a checkpoint) and which versions each collection has (`_COLLECTIONS`). A handle names a record;
where its weights lie, and how it is computed, is not known here.

Sources: the TF-Hub module pages; accuracy, multiply-adds and parameters as TF-Slim's
`nets/mobilenet/README.md` (V2) and `nets/mobilenet_v1.md` (V1) state them. Those figures disagree
with computation in places (see `Published`), so callers show both.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Literal

from mobilenet_hub.errors import UnknownHandleError
from mobilenet_hub.networks import Family, Network, network

# What `hub.embed`, `hub.classify` and the commands compute with where nothing else is asked for.
EMBED_MODULE = "google/imagenet/mobilenet_v2_100_224/feature_vector/5"
CLASSIFY_MODULE = "google/imagenet/mobilenet_v2_140_224/classification/5"

Task = Literal["classification", "feature_vector"]
TASKS: tuple[Task, ...] = ("classification", "feature_vector")

_V1_ARCHIVES = (
    "https://storage.googleapis.com/download.tensorflow.org/models/mobilenet_v1_2018_02_22/"
)
_V2_ARCHIVES = "https://storage.googleapis.com/mobilenet_v2/checkpoints/"


@dataclass(frozen=True, slots=True)
class Published:
    """What TF-Slim's READMEs state of a checkpoint.

    V2 figures there are cut, not rounded; V1's 0.75 multiply-adds and its 0.25 at 192 px do not
    match the network; V2's parameters at 1.0 leave batch norm out.

    Attributes:
        top1, top5: accuracy on ImageNet's 50,000 validation images, in percent.
        multiply_adds, parameters: in millions.
    """

    top1: float
    top5: float
    multiply_adds: float
    parameters: float


# One row a checkpoint: depth multiplier in percent, image size, then `Published`.
_PUBLISHED: tuple[tuple[Family, int, int, Published], ...] = (
    ("mobilenet_v2", 140, 224, Published(75.0, 92.5, 582, 6.06)),
    ("mobilenet_v2", 130, 224, Published(74.4, 92.1, 509, 5.34)),
    ("mobilenet_v2", 100, 224, Published(71.8, 91.0, 300, 3.47)),
    ("mobilenet_v2", 100, 192, Published(70.7, 90.1, 221, 3.47)),
    ("mobilenet_v2", 100, 160, Published(68.8, 89.0, 154, 3.47)),
    ("mobilenet_v2", 100, 128, Published(65.3, 86.9, 99, 3.47)),
    ("mobilenet_v2", 100, 96, Published(60.3, 83.2, 56, 3.47)),
    ("mobilenet_v2", 75, 224, Published(69.8, 89.6, 209, 2.61)),
    ("mobilenet_v2", 75, 192, Published(68.7, 88.9, 153, 2.61)),
    ("mobilenet_v2", 75, 160, Published(66.4, 87.3, 107, 2.61)),
    ("mobilenet_v2", 75, 128, Published(63.2, 85.3, 69, 2.61)),
    ("mobilenet_v2", 75, 96, Published(58.8, 81.6, 39, 2.61)),
    ("mobilenet_v2", 50, 224, Published(65.4, 86.4, 97, 1.95)),
    ("mobilenet_v2", 50, 192, Published(63.9, 85.4, 71, 1.95)),
    ("mobilenet_v2", 50, 160, Published(61.0, 83.2, 50, 1.95)),
    ("mobilenet_v2", 50, 128, Published(57.7, 80.8, 32, 1.95)),
    ("mobilenet_v2", 50, 96, Published(51.2, 75.8, 18, 1.95)),
    ("mobilenet_v2", 35, 224, Published(60.3, 82.9, 59, 1.66)),
    ("mobilenet_v2", 35, 192, Published(58.2, 81.2, 43, 1.66)),
    ("mobilenet_v2", 35, 160, Published(55.7, 79.1, 30, 1.66)),
    ("mobilenet_v2", 35, 128, Published(50.8, 75.0, 20, 1.66)),
    ("mobilenet_v2", 35, 96, Published(45.5, 70.4, 11, 1.66)),
    ("mobilenet_v1", 100, 224, Published(70.9, 89.9, 569, 4.24)),
    ("mobilenet_v1", 100, 192, Published(70.0, 89.2, 418, 4.24)),
    ("mobilenet_v1", 100, 160, Published(68.0, 87.7, 291, 4.24)),
    ("mobilenet_v1", 100, 128, Published(65.2, 85.8, 186, 4.24)),
    ("mobilenet_v1", 75, 224, Published(68.4, 88.2, 317, 2.59)),
    ("mobilenet_v1", 75, 192, Published(67.2, 87.3, 233, 2.59)),
    ("mobilenet_v1", 75, 160, Published(65.3, 86.0, 162, 2.59)),
    ("mobilenet_v1", 75, 128, Published(62.1, 83.9, 104, 2.59)),
    ("mobilenet_v1", 50, 224, Published(63.3, 84.9, 150, 1.34)),
    ("mobilenet_v1", 50, 192, Published(61.7, 83.6, 110, 1.34)),
    ("mobilenet_v1", 50, 160, Published(59.1, 81.9, 77, 1.34)),
    ("mobilenet_v1", 50, 128, Published(56.3, 79.4, 49, 1.34)),
    ("mobilenet_v1", 25, 224, Published(49.8, 74.2, 41, 0.47)),
    ("mobilenet_v1", 25, 192, Published(47.7, 72.3, 34, 0.47)),
    ("mobilenet_v1", 25, 160, Published(45.5, 70.3, 21, 0.47)),
    ("mobilenet_v1", 25, 128, Published(41.5, 66.3, 14, 0.47)),
)

# Versions that exist. The V1 modules have no version 2.
_VERSIONS: Mapping[Family, tuple[int, ...]] = {
    "mobilenet_v1": (1, 3, 4, 5),
    "mobilenet_v2": (1, 2, 3, 4, 5),
}
_TF2_PREVIEW_VERSIONS = (1, 2, 3, 4)
_SLIM_MOMENTUM: Mapping[Family, float] = {"mobilenet_v1": 0.9997, "mobilenet_v2": 0.997}


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """One published module: a network, its input size, a task, and a version's semantics.

    Attributes:
        publisher, collection: the first two parts of the handle, for example `google`, `imagenet`.
        family, depth_multiplier: of the network.
        image_size: height and width of the input, in pixels; a default or a must, see `fixed_size`.
        task: `classification` (1001 logits) or `feature_vector`.
        version: last part of the handle.
        checkpoint_key: which published checkpoint it holds, for example `mobilenet_v2_035_96`.
        published: accuracy and cost as TF-Slim states them.
        handle: the path form of the handle, without `https://tfhub.dev/`.
    """

    publisher: str
    collection: str
    family: Family
    depth_multiplier: float
    image_size: int
    task: Task
    version: int
    checkpoint_key: str
    published: Published
    handle: str = field(init=False)

    def __post_init__(self) -> None:
        name = "mobilenet_v2" if self.collection == "tf2-preview" else self.checkpoint_key
        handle = f"{self.publisher}/{self.collection}/{name}/{self.task}/{self.version}"
        object.__setattr__(self, "handle", handle)

    @property
    def url(self) -> str:
        """The full handle, as in code written for tfhub.dev."""
        return f"https://tfhub.dev/{self.handle}"

    @property
    def network(self) -> Network:
        """The layers."""
        return network(self.family, self.depth_multiplier)

    @property
    def num_features(self) -> int:
        """Size of the feature vector."""
        return self.network.num_features

    @property
    def module_format(self) -> Literal["hub", "saved_model_2"]:
        """How Google published it: the TF1 "hub" format, or a TF2 SavedModel."""
        old = self.collection == "imagenet" and self.version <= 3
        return "hub" if old else "saved_model_2"

    @property
    def fixed_size(self) -> bool:
        """Whether the input must be `image_size`; V1's is a default from version 3 on."""
        return self.family == "mobilenet_v2" or self.version < 3

    @property
    def image_shape(self) -> tuple[int | None, int | None, int]:
        """Of one image: height, width, channels; None where any size will do."""
        size = self.image_size if self.fixed_size else None
        return (size, size, 3)

    @property
    def batch_norm_momentum(self) -> float:
        """Default momentum of the moving averages: 0.99 from version 3 on, before that slim's."""
        return 0.99 if self.version >= 3 else _SLIM_MOMENTUM[self.family]

    @property
    def configurable_momentum(self) -> bool:
        """Whether `batch_norm_momentum` may be passed (signatures `*_with_bn_hparams`)."""
        return self.version >= 3

    @property
    def checkpoint(self) -> str:
        """The TF-Slim checkpoint that was exported into it, as the module pages name it."""
        name = self.checkpoint_name
        if self.family == "mobilenet_v1":
            return f"mobilenet_v1_2018_02_22/{name}/{name}.ckpt"
        return f"{name}/{name}.ckpt"

    @property
    def checkpoint_name(self) -> str:
        """Name of that checkpoint's files, for example `mobilenet_v2_0.35_96`."""
        return f"{self.family}_{self.depth_multiplier!r}_{self.image_size}"

    @property
    def checkpoint_url(self) -> str:
        """Where Google serves the checkpoint's archive."""
        base = _V1_ARCHIVES if self.family == "mobilenet_v1" else _V2_ARCHIVES
        return f"{base}{self.checkpoint_name}.tgz"


def _records() -> Iterator[ModuleInfo]:
    for family, percent, size, published in _PUBLISHED:
        for task in TASKS:
            for version in _VERSIONS[family]:
                yield ModuleInfo(
                    "google", "imagenet", family, percent / 100, size, task, version,
                    f"{family}_{percent:03d}_{size}", published,
                )  # fmt: skip
            if (family, percent, size) == ("mobilenet_v2", 100, 224):
                for version in _TF2_PREVIEW_VERSIONS:
                    yield ModuleInfo(
                        "google", "tf2-preview", family, 1.0, size, task, version,
                        "mobilenet_v2_100_224", published,
                    )  # fmt: skip


@cache
def modules() -> Mapping[str, ModuleInfo]:
    """All modules by handle (path form), networks in published order, versions ascending."""
    return MappingProxyType({record.handle: record for record in _records()})


_HANDLE_PREFIX = re.compile(
    r"(https?://)?(www\.)?"
    r"(tfhub\.dev|hub\.tensorflow\.google\.cn|storage\.googleapis\.com/tfhub-modules)/",
    re.IGNORECASE,
)
# Kaggle Models, where tfhub.dev's modules went: with the words of its pages, or without.
_KAGGLE_HANDLE = re.compile(
    r"((https?://)?(www\.)?kaggle\.com/models/)?google/mobilenet-(?P<family>v[12])"
    r"(/frameworks)?/tensorflow(?P<tensorflow>[12])(/variations)?/"
    r"(?P<network>\d{3}-\d{2,3}|tf2-preview)-(?P<task>classification|feature-vector)"
    r"((/versions)?/(?P<version>\d+))?",
    re.IGNORECASE,
)
_KAGGLE_BEHIND = 3  # versions: its first TensorFlow 2 version of these is tfhub.dev's fourth


def find(handle: str) -> ModuleInfo:
    """The record of a handle.

    ```python
    find("https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5")
    find("kaggle.com/models/google/mobilenet-v2/TensorFlow2/100-224-feature-vector/2")  # the same
    ```

    Args:
        handle: `https://tfhub.dev/...`, its mirror or its archives, the page or the handle of
            Kaggle Models, or the bare path; any without a version for the newest.

    Raises:
        UnknownHandleError: names the nearest valid handles.
    """
    if not isinstance(handle, str):
        raise UnknownHandleError(handle, reason="A handle is a string.")
    given = re.split(r"[?#]", handle.strip(), maxsplit=1)[0].strip("/")
    if (kaggle := _KAGGLE_HANDLE.fullmatch(given)) is not None:
        return _find_on_kaggle(handle, kaggle)
    path = _HANDLE_PREFIX.sub("", given, count=1).removesuffix(".tar.gz")
    if (record := modules().get(path)) is not None:
        return record
    versions = [r for name, r in modules().items() if name.rpartition("/")[0] == path]
    if versions:
        return max(versions, key=lambda record: record.version)
    raise UnknownHandleError(handle, _nearest(path), _reason(path))


def _find_on_kaggle(handle: str, parts: re.Match[str]) -> ModuleInfo:
    """The record of a Kaggle handle, whose versions count anew but for tf2-preview's.

    Raises:
        UnknownHandleError: a version that is not known to be one of tfhub.dev's.
    """
    task = parts["task"].lower().replace("-", "_")
    preview = parts["network"].lower() == "tf2-preview"
    family = f"mobilenet_{parts['family'].lower()}"
    name = (
        f"google/tf2-preview/{family}/{task}"
        if preview
        else f"google/imagenet/{family}_{parts['network'].replace('-', '_')}/{task}"
    )
    candidates = [record for key, record in modules().items() if key.rpartition("/")[0] == name]
    if parts["tensorflow"] == "2":
        candidates = [r for r in candidates if r.module_format == "saved_model_2"]
        if candidates and parts["version"] is None:
            return candidates[-1]
        wanted = int(parts["version"] or 0) + (0 if preview else _KAGGLE_BEHIND)
        for record in candidates:
            if record.version == wanted:
                return record
    else:
        candidates = [record for record in candidates if record.module_format == "hub"]
    raise UnknownHandleError(
        handle,
        [record.handle for record in candidates] or _nearest(name),
        "Which version of tfhub.dev this one of Kaggle's is, is not known: choose one."
        if candidates
        else "",
    )


def _nearest(path: str) -> list[str]:
    without_versions = {name.rpartition("/")[0]: None for name in modules()}
    stem, _, version = path.rpartition("/")
    if stem in without_versions:  # a real module, a version that never was
        return [name for name in modules() if name.rpartition("/")[0] == stem]
    wanted = (stem if version.isdigit() else path).lower()
    if containing := [name for name in without_versions if wanted and wanted in name]:
        return containing[:4]
    return difflib.get_close_matches(wanted, without_versions, n=3, cutoff=0.3)


def _reason(path: str) -> str:
    stem, _, version = path.rpartition("/")
    known = [r.version for name, r in modules().items() if name.rpartition("/")[0] == stem]
    if not known:
        return ""
    return f"{stem} has versions {', '.join(map(str, known))}, not {version}."
