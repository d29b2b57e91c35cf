"""What decides the numbers in a row, beside the module and its weights: one record for all rooms.

A dataset notes it, a search index notes it, and weights may carry the part that belongs to them
(`PreprocessingSettings`), each through the same `to_dict`; so nothing that changes a result is
written down in one place and forgotten in another.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, get_args

from mobilenet_hub.errors import InputError
from mobilenet_hub.networks import INPUT_RANGE

if TYPE_CHECKING:  # commands that need no arrays start sooner without
    import numpy as np

Crop = Literal["center", "cover", "slim", "none", "pad"]
Resample = Literal["bilinear", "tf1"]
EngineName = Literal["openvino", "onnxruntime"]
Precision = Literal["float32", "bf16", "int8"]
Normalize = Literal["l2"]
DType = Literal["float32", "float16"]
Probabilities = Literal["softmax", "sigmoid"]
BatchNorm = Literal["frozen", "batch"]

# The number of pixels at which Pillow refuses an image: a picture of 13,377 × 13,377. Decoding
# takes 4 to 11 bytes a pixel, of a WebP 18: at most 3 GiB.
MAX_PIXELS = 178_956_970
MAX_INPUT_PIXELS = 4096 * 4096  # a larger one takes gigabytes for the values inside a network


class PreprocessingChoices(TypedDict, total=False):
    """What a caller may want otherwise than the module has it.

    Attributes:
        size: height and width of the input, where the module's is not fixed.
        crop, resample, max_pixels: see `PreprocessingSettings`. None is as the module has it.
    """

    size: tuple[int, int] | None
    crop: Crop | None
    resample: Resample | None
    max_pixels: int


@dataclass(frozen=True, slots=True)
class PreprocessingSettings:
    """How the bytes of an image file become the pixels a network takes.

    Attributes:
        height, width: of the result.
        crop: `center`: the largest central rectangle of the result's shape, times 0.875 (for a
            square: 87.5 % of the short side), so that nothing is squashed; `cover`: that rectangle
            whole, as Teachable Machine takes pictures; `slim`: the central
            87.5 % of height and of width, squashed; `none`: the whole picture, squashed; `pad`:
            the whole picture, fitted inside and padded with mid-grey (128; 0.5 for `tf1`).
            Edges lie on whole pixels of the decoded picture.
        resample: `bilinear` or `tf1`; see `mobilenet_hub.images`.
        max_pixels: greatest width times height of a picture, checked before it is decoded.

    Raises:
        InputError: settings that mean nothing.
    """

    height: int
    width: int
    crop: Crop = "center"
    resample: Resample = "bilinear"
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        for name in ("height", "width", "max_pixels"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"{name} must be a positive integer. Received: {value!r}")
        if self.height * self.width > MAX_INPUT_PIXELS:
            raise InputError(
                f"a network's input may have up to {MAX_INPUT_PIXELS:,} pixels. "
                f"Received: {self.height} x {self.width} (height x width)"
            )
        for name, choices in (("crop", get_args(Crop)), ("resample", get_args(Resample))):
            value = getattr(self, name)
            if value not in choices:
                raise InputError(f"{name} must be one of {choices}. Received: {value!r}")

    @property
    def size(self) -> tuple[int, int]:
        """Of the result: (height, width)."""
        return (self.height, self.width)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the result: (height, width, 3)."""
        return (self.height, self.width, 3)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the result: uint8 in [0, 255] for `bilinear`, float32 in [0, 1] for `tf1`."""
        import numpy as np

        return np.dtype(np.float32 if self.resample == "tf1" else np.uint8)

    def to_dict(self) -> dict[str, Any]:
        """The fields as they go into JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From what `to_dict` gave; other keys are ignored, missing ones have their default.

        Raises:
            InputError, TypeError: a value that cannot be, or no height or width.
        """
        return cls(**_chosen(values, PreprocessingSettings))


@dataclass(frozen=True, slots=True)
class Compute:
    """What computes a network.

    Attributes:
        engine: `openvino`, or `onnxruntime` (extra `[onnxruntime]`).
        precision: `float32`; or, for speed, `bf16` (on CPUs that have it) or `int8`: see
            docs/precision.md.
        threads: cores to use; all by default. Never changes a result.
        providers: ONNX Runtime's execution providers, most wanted first.
    """

    engine: EngineName = "openvino"
    precision: Precision = "float32"
    threads: int | None = None
    providers: tuple[str, ...] = ("CPUExecutionProvider",)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a row holds, and how it is computed.

    Attributes:
        preprocessing: from bytes to pixels.
        compute: what computes.
        features: whether feature vectors are wanted.
        labels: how many of the most likely classes are wanted.
        reject: whether images that are none of the classes are told apart.
        normalize: `l2` scales each feature vector to length 1.
        content_hash: whether the bytes of each image are hashed (sha256).
        dimensions: whether each picture's width and height are noted.
        perceptual_hash: whether each picture's hash is noted, which copies of it share.
        dtype: of feature vectors on disk.
    """

    preprocessing: PreprocessingSettings
    compute: Compute = field(default_factory=Compute)
    features: bool = True
    labels: int = 0
    reject: bool = False
    normalize: Normalize | None = None
    content_hash: bool = False
    dimensions: bool = False
    perceptual_hash: bool = False
    dtype: DType = "float32"

    def __post_init__(self) -> None:
        if self.normalize not in (None, "l2"):
            raise InputError(f"normalize must be None or 'l2'. Received: {self.normalize!r}")
        if self.dtype not in get_args(DType):
            raise InputError(f"dtype must be one of {get_args(DType)}. Received: {self.dtype!r}")

    def to_dict(self) -> dict[str, Any]:
        """Everything that may change a result, flat, as it goes into JSON."""
        own = asdict(self)
        preprocessing, compute = own.pop("preprocessing"), own.pop("compute")
        del compute["threads"]
        compute["providers"] = list(compute["providers"])
        return {**preprocessing, **compute, **own}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From what `to_dict` gave; other keys are ignored, missing ones have their default.

        Raises:
            InputError, TypeError: a value that cannot be, or no height or width.
        """
        compute = _chosen(values, Compute)
        if "providers" in compute:
            compute["providers"] = tuple(compute["providers"])
        own = _chosen(values, Settings)
        return cls(PreprocessingSettings.from_dict(values), Compute(**compute), **own)


_WORDS = ("activation", "precision", "calibration_sha256")  # of a classifier: texts as they are


@dataclass(frozen=True, slots=True)
class ClassifierSettings:
    """What a classifier of somebody's own says of itself, in the metadata of its weights.

    Attributes:
        labels: the name of each logit.
        preprocessing: that it was made with; None for the module's own.
        activation: what makes probabilities of logits: `softmax`, or `sigmoid` where an image may
            have several labels, each with a probability of its own.
        temperature: by which logits are divided before that (Guo et al., arXiv 1706.04599).
        reject_threshold: least cosine of an image's features to the nearest prototype; below it the
            image is none of the classes. None: no image is rejected.
        precision: that temperature, threshold and prototypes were fitted with.
        input_range: the values of black and white pixels for the first convolution.
        calibration_sha256: of the calibration that they were fitted with, in int8.

    Raises:
        InputError: settings that mean nothing.
    """

    labels: tuple[str, ...]
    preprocessing: PreprocessingSettings | None = None
    activation: Probabilities = "softmax"
    temperature: float = 1.0
    reject_threshold: float | None = None
    precision: Precision = "float32"
    input_range: tuple[float, float] = INPUT_RANGE
    calibration_sha256: str | None = None

    def __post_init__(self) -> None:
        if not self.labels or not all(isinstance(label, str) for label in self.labels):
            raise InputError(f"labels must be texts. Received: {str(self.labels)[:100]}")
        for name, choices in (("activation", Probabilities), ("precision", Precision)):
            if (value := getattr(self, name)) not in get_args(choices):
                raise InputError(f"{name} must be one of {get_args(choices)}. Received: {value!r}")
        if not (_is_finite(self.temperature) and self.temperature > 0):
            raise InputError(f"temperature must be positive. Received: {self.temperature!r}")
        threshold = self.reject_threshold
        if threshold is not None and not (_is_finite(threshold) and -1 <= threshold <= 1):
            raise InputError(
                f"reject_threshold must be a cosine, in [-1,1]. Received: {threshold!r}"
            )
        low, high = self.input_range if len(self.input_range) == 2 else (0, 0)
        if not (_is_finite(low) and _is_finite(high) and low < high):
            raise InputError(
                f"input_range must be two numbers, ascending. Received: {self.input_range!r}"
            )

    def to_metadata(self) -> dict[str, str]:
        """As texts, for the metadata of weights; what is None is left out."""
        values = asdict(self)
        if self.preprocessing is not None:
            del values["preprocessing"]["max_pixels"]  # a limit of the reader's
        return {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in values.items()
            if value is not None
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Self:
        """From the metadata of weights, which has `labels` where their classes are not ImageNet's.

        Raises:
            InputError, ValueError, RecursionError: what it says is not what `to_metadata` writes.
        """
        values: dict[str, Any] = {
            name: text if name in _WORDS else json.loads(text)
            for name, text in _chosen(metadata, cls).items()
        }
        for name, kind in (("labels", list), ("preprocessing", dict), ("input_range", list)):
            if name in values and not isinstance(values[name], kind):
                raise InputError(
                    f"{name} must be a {kind.__name__}. Received: {metadata[name]:.100}"
                )
        if "preprocessing" in values:
            own = {**values["preprocessing"], "max_pixels": MAX_PIXELS}
            values["preprocessing"] = PreprocessingSettings.from_dict(
                {"height": 0, "width": 0} | own
            )
        for name in {"labels", "input_range"} & values.keys():
            values[name] = tuple(values[name])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class FineTuneSettings:
    """How the last blocks of a network are trained, or all, after the head.

    Attributes:
        epochs: at most.
        layers: how many of the last blocks are trained; None for all. The maps that those before
            them give are computed once a view.
        batch_size: photos a step.
        learning_rate: at its highest, after a tenth of the steps; it falls as half a cosine.
        momentum: of Adam's average of the gradient.
        l1, l2: penalties of the head's kernel: these times the sum of its values' sizes, and of
            their squares.
        dropout: share of features that is dropped before the head.
        label_smoothing: share of the target that is spread over all classes.
        batch_norm: `frozen` normalises by the averages that the network came with, and leaves them
            as they are; `batch` by each batch's own statistics, and moves the averages.
        batch_norm_momentum: of these averages, so that giving one means `batch`; None chooses by
            the number of steps.
        views: in how many ways each picture is changed at random; an epoch sees one of them.
        flip: whether pictures are mirrored at random.
        crop: share by which pictures are larger than the random part of each that is taken, [0, 1).
        scale, brightness: greatest random change, as a share in [0, 1).
        rotation, shear: greatest random angle, in degrees.
        patience: epochs that are no better on the validation photos before it stops.
        seed: of everything random.

    Raises:
        InputError: a value that cannot be.
    """

    epochs: int = 10
    layers: int | None = 5
    batch_size: int = 32
    learning_rate: float = 0.0002
    momentum: float = 0.9
    l1: float = 0.0
    l2: float = 0.0
    dropout: float = 0.2
    label_smoothing: float = 0.1
    batch_norm: BatchNorm = "frozen"
    batch_norm_momentum: float | None = None
    views: int = 6
    flip: bool = True
    crop: float = 0.1
    scale: float = 0.3
    brightness: float = 0.2
    rotation: float = 10.0
    shear: float = 0.0
    patience: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "views", "patience"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1. Received: {getattr(self, name)}")
        for name in ("momentum", "dropout", "label_smoothing", "crop", "scale", "brightness"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be in [0, 1). Received: {getattr(self, name)}")
        if self.layers is not None and self.layers < 0:
            raise InputError(f"layers must not be negative. Received: {self.layers}")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate must be above 0. Received: {self.learning_rate}")
        for name in ("l1", "l2"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must not be negative. Received: {getattr(self, name)}")
        for name, most in (("rotation", 180), ("shear", 45)):
            if not 0 <= getattr(self, name) <= most:
                raise InputError(
                    f"{name} is in degrees, 0 to {most}. Received: {getattr(self, name)}"
                )
        if self.batch_norm not in get_args(BatchNorm):
            raise InputError(
                f"batch_norm must be one of {get_args(BatchNorm)}. Received: {self.batch_norm!r}"
            )
        momentum = self.batch_norm_momentum
        if momentum is not None and not 0 <= momentum < 1:
            raise InputError(f"batch_norm_momentum must be in [0, 1). Received: {momentum}")

    @property
    def normalizes_by_batch(self) -> bool:
        """Whether batch norm normalises by the statistics of each batch while it is trained."""
        return self.batch_norm == "batch" or self.batch_norm_momentum is not None

    def to_dict(self) -> dict[str, Any]:
        """The fields as they go into JSON."""
        return asdict(self)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and math.isfinite(value)


def _chosen(values: Mapping[str, Any], record: type[Any]) -> dict[str, Any]:
    return {field.name: values[field.name] for field in fields(record) if field.name in values}
