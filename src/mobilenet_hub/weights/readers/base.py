"""What every reader returns, and the few guards that all of them share.

A reader turns one file format into TF-Slim-named float32 arrays. Its bytes come from anywhere, so
every size in them is checked against what is really there before anything is allocated, and
whatever is wrong with them ends in a `WeightsError`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from mobilenet_hub.errors import MissingWeightsError, WeightsError
from mobilenet_hub.networks import INPUT_RANGE
from mobilenet_hub.settings import Crop, Probabilities, Resample
from mobilenet_hub.weights.safetensors_format import printable

Array = npt.NDArray[np.float32]

# The largest network of the catalogue holds 25 MB. Nothing that claims more than this is one.
MAX_WEIGHTS_BYTES = 512 << 20


# The convolutions whose outputs, averaged, are the features.
LAST_CONVOLUTIONS = ("MobilenetV1/Conv2d_13_pointwise/weights", "MobilenetV2/Conv_1/weights")


class UnreadHeadError(WeightsError):
    """A file has a head that cannot be kept."""

    def __init__(self, where: str, expected: str, received: object) -> None:
        super().__init__(
            f"{where} holds a head on the features of its network that cannot be kept, and none is "
            f"left out unasked: expected {short(expected)}. If the features are all you want, name "
            f"their module: `--as` a feature_vector handle, or hub.Module(HANDLE, weights=FILE). "
            f"Received: {short(received)}"
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """The tensors of one file, and what else the file told.

    Attributes:
        tensors: TF-Slim variable name to float32 array, C-contiguous, read-only: kernels HWIO, or
            HWI1 for depthwise ones, everything else [channels]. Which network they form, and
            whether they are complete, is for `weights.canonical` to say. With the layers of the
            file's head, where it has one that can be kept.
        format: the file format in words.
        folded: scopes of the convolutions whose batch norm the file holds folded into them. Their
            statistics are lost: they carry `FOLDED_VARIANCE` and friends, exact for inference and
            meaningless for training until they are re-estimated on photos.
        moving_averages: whether exponential moving averages of the trained variables were read
            in place of the variables themselves.
        notes: whatever else a person may want to know, one sentence each.
        files: that were read; none stands for the one that was asked for.
        metadata: that the file itself carried, of this library's own.
        image_size: height and width, in pixels, of the images it takes; None if it does not tell.
        names: in it, of models or checkpoints: `mobilenetv2_0.35_96` tells a size as well.
        unread: why a head that is in the file is not among the tensors; None if none is left out.
        activation: what makes probabilities of the logits, where the file tells.
        input_range: what it brings black and white pixels to before the first convolution.
        labels: of the logits; none if it does not tell.
        crop: how the pictures were cut that a classifier was made with; None if that is not known.
        resample: and how they were resized.
    """

    tensors: dict[str, Array]
    format: str
    folded: tuple[str, ...] = ()
    moving_averages: bool = False
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    image_size: int | None = None
    names: tuple[str, ...] = ()
    unread: UnreadHeadError | None = None
    activation: Probabilities | None = None
    input_range: tuple[float, float] = INPUT_RANGE
    labels: tuple[str, ...] = ()
    crop: Crop | None = None
    resample: Resample = "bilinear"

    @property
    def num_features(self) -> int:
        """How many values the last convolution gives; 0 where it is not there."""
        last = next((name for name in LAST_CONVOLUTIONS if name in self.tensors), None)
        return 0 if last is None else self.tensors[last].shape[-1]


# A folded convolution is `y = conv(x, w) + b`. With gamma 1, mean 0, beta b and this variance,
# batch normalisation is that same function bit for bit: in float32, 0.999 + 0.001 rounds to
# exactly 1; in float64, float32(0.999) + 0.001 is 1 + 1.3e-8, and w / sqrt(1 + 1.3e-8) rounds to w
# in float32 (its relative distance, 6.4e-9, is below half a unit in the last place, 3e-8).
FOLDED_VARIANCE = np.float32(0.999)


def folded_batch_norm(bias: Array, scale: Array | None = None) -> dict[str, Array]:
    """The statistics with which batch norm computes `scale * x + bias` exactly.

    Args:
        bias: float32 [channels].
        scale: float32 [channels]; ones where the scale went into the kernel.

    Returns:
        `gamma`, `beta`, `moving_mean` and `moving_variance`, each float32 [channels].
    """
    return {
        "gamma": np.ones_like(bias) if scale is None else scale,
        "beta": bias,
        "moving_mean": np.zeros_like(bias),
        "moving_variance": np.full_like(bias, FOLDED_VARIANCE),
    }


def square(shape: Sequence[int]) -> int | None:
    """The size of the images in a batch of fixed, square ones: `[batch, size, size, 3]`."""
    if len(shape) == 4 and shape[3] == 3 and shape[1] == shape[2] > 0:
        return int(shape[1])
    return None


def damaged(where: str, expected: str, received: object) -> WeightsError:
    """The error for bytes that are not what their format promises."""
    return WeightsError(
        f"Cannot read {where}: expected {short(expected)}. The file is damaged, cut short, or of "
        f"another kind: fetch it again. Received: {short(received)}"
    )


def short(text: object) -> str:
    """Text for a message: names come from the file, may be megabytes, and command terminals."""
    words = printable(str(text)[:401])
    return words if len(words) <= 400 else f"{words[:400]}..."


def finished(tensors: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, Array]:
    """The arrays as float32, contiguous and read-only: nobody can change loaded weights."""
    result: dict[str, Array] = {}
    for name, tensor in tensors.items():
        array: Array = np.require(tensor, np.float32, ["C", "A"])
        array.flags.writeable = False
        result[name] = array
    return result


def open_file(path: Path, what: str) -> BinaryIO:
    """Open a regular file for unbuffered reading.

    Raises:
        MissingWeightsError: if there is none.
        WeightsError: if it cannot be opened, or is a directory, pipe or device.
    """
    try:
        if not path.is_file():  # never block on a pipe
            if path.exists():
                raise WeightsError(f"{what} must be a regular file. Received: {str(path)!r}")
            raise MissingWeightsError(
                f"{what} is not there; check the path. Received: {str(path)!r}"
            )
        return path.open("rb", buffering=0)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{what} cannot be opened: {error}. Received: {str(path)!r}") from error


def read_file(path: Path, what: str, limit: int) -> bytes:
    """The whole of a file that is known to be small.

    Raises:
        MissingWeightsError, WeightsError: as `open_file`; also if it is larger than `limit` bytes.
    """
    with open_file(path, what) as file:
        return read_exactly(file, 0, file_size(file, what, limit), what)


def file_size(file: BinaryIO, what: str, limit: int) -> int:
    """Size of an open file in bytes, refused above `limit`."""
    size = os.fstat(file.fileno()).st_size
    if size > limit:
        raise WeightsError(
            f"{what} is far larger than that of any MobileNet: expected at most {limit:,} bytes. "
            f"Received: {size:,} bytes"
        )
    return size


def read_exactly(file: BinaryIO, offset: int, size: int, what: str) -> bytes:
    """`size` bytes from `offset`; the caller has checked both against the size of the file.

    Raises:
        WeightsError: if the file ends early, or the system cannot read it.
    """
    try:
        file.seek(offset)
        data = file.read(size)  # all of it, in one allocation, unless the system is interrupted
        while len(data) < size:
            more = file.read(size - len(data))
            if not more:
                raise damaged(what, f"{size:,} bytes at {offset:,}", f"{len(data):,} bytes")
            data += more
    except OSError as error:
        raise WeightsError(f"{what} cannot be read: {error}") from error
    return data
