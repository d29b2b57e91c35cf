"""What int8 needs to know of a network: how large the values between its layers become on photos.

A calibration is a small record beside the weights, never a copy of them. It belongs to the feature
tensors (a classifier on the same features takes the same one) and to one input size. Its file is a
safetensors file: corrections and roundings of each layer, and in the metadata one JSON object with
everything else.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mobilenet_hub.errors import WeightsError
from mobilenet_hub.files import parse_json
from mobilenet_hub.networks import Layer, Network, network
from mobilenet_hub.weights.safetensors_format import parse_safetensors, printable

FORMAT = "mobilenet-hub-calibration/2"
MAX_FILE_BYTES = 1 << 23  # the largest network's takes 0.7 MB
_CORRECTION, _ROUNDING = "correction", "rounding"  # tensors in it, after a layer's scope
MAX_SIDE = 1 << 14  # of an input, in pixels
MIN_RANGE, MAX_RANGE = 1e-3, 1e6  # of a value between two layers: trained networks stay below 100


@dataclass(frozen=True, slots=True)
class Photos:
    """A set of photos.

    Attributes:
        name: for people.
        count: how many.
        sha256: of their own sha256s, in the order they were read.
    """

    name: str
    count: int
    sha256: str

    def __str__(self) -> str:
        """For people."""
        return f"{self.count:,} photos ({self.name}; sha256 {self.sha256[:12]})"


@dataclass(frozen=True, slots=True)
class Certificate:
    """How int8 compares with float32 on photos that did not calibrate it.

    Attributes:
        photos: what it was measured on. Of a single set, each half was measured with a calibration
            on the other.
        engine: what computed, with its version.
        instruction_set: of the CPU; see `runtime.cpu.instruction_set`.
        cosine, least_cosine: mean and least of the photos' feature vectors with float32's.
        recall: mean share of the 10 nearest photos by cosine that both find, of each photo; None of
            sets so small that it would say nothing.
        agreement: share of photos whose most likely class is the same; None without logits.
        top1_loss: top-1 accuracy in float32 less that in int8; None without known classes.
        top1_interval: in which the loss lies with a confidence of 95 %.

    Raises:
        WeightsError: numbers that cannot be.
    """

    photos: Photos
    engine: str
    instruction_set: str
    cosine: float
    least_cosine: float
    recall: float | None = None
    agreement: float | None = None
    top1_loss: float | None = None
    top1_interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        shares = [value for value in (self.recall, self.agreement) if value is not None]
        cosines = (self.least_cosine, self.cosine)
        losses = [-1.0, self.top1_loss or 0.0, 1.0]
        low, high = self.top1_interval or (0.0, 0.0)
        if not (
            all(0 <= share <= 1 for share in shares)
            and all(abs(cosine) < 1.001 for cosine in cosines)
            and losses == sorted(losses)
            and -1 <= low <= high <= 1
        ):
            raise _refusal(f"a certificate of {(*cosines, *shares, self.top1_loss, low, high)}")

    def in_words(self) -> str:
        """All of it in one sentence."""
        least = math.floor(1000 * self.least_cosine) / 1000
        words = [f"cosine to float32 {self.cosine:.4f}, at least {least:.3f}"]
        if self.recall is not None:
            words.append(f"recall@10 {100 * self.recall:.1f} %")
        if self.agreement is not None:
            words.append(f"same top-1 {100 * self.agreement:.1f} %")
        if self.top1_loss is not None and self.top1_interval is not None:
            low, high = (100 * bound for bound in self.top1_interval)
            loss = f"{100 * self.top1_loss:+.1f} points of top-1 lost ({low:+.1f} to {high:+.1f})"
            words.append(loss)
        measured = f"{self.engine} on {self.instruction_set}"
        return f"{', '.join(words)}; {self.photos}; {measured}"


def stored_tensors(net: Network, float_layers: int) -> Iterator[tuple[str, Layer]]:
    """Each tensor of activations that is stored in bytes, by its name in a calibration's `ranges`.

    Args:
        net: the network.
        float_layers: how many layers, the first, stay in float32. What the last of them gives is
            stored in bytes, for the next.
    """
    first = max(float_layers - 1, 0)
    for index, layer in enumerate(net.convolutions[first:-1], first):
        if layer.residual is None or index >= float_layers:
            yield layer.scope, layer
        if layer.residual is not None:
            yield f"{layer.scope}/add", layer


@dataclass(frozen=True, eq=False)
class Calibration:
    """Ranges and corrections of one network at one input size.

    Attributes:
        network: whose layers these are; its head is none of this.
        weights_sha256: of the feature tensors (`storage.pins.tensor_digests`).
        size: height and width of the input.
        ranges: the greatest absolute value of each layer's output, by scope; of its sum with a
            residual, by scope and `/add`: of the `stored_tensors`. The last convolution, whose
            values stay float32, has none.
        corrections: float32 [channels]: what is taken from the bias of a layer, by scope, because
            rounding adds it.
        roundings: uint8: a bit for each number of a layer's kernel [out, in, height, width], by
            scope: whether it is rounded up (`numpy.packbits`).
        photos: that were measured.
        method: in words.
        certificates: how it compares with float32, one for each instruction set and set of photos.
        float_layers: how many layers, the first, stay in float32; these have no corrections and
            roundings.

    Raises:
        WeightsError: arrays that are not those of the network, or values that cannot be.
    """

    network: Network
    weights_sha256: str
    size: tuple[int, int]
    ranges: Mapping[str, float]
    corrections: Mapping[str, NDArray[np.float32]]
    roundings: Mapping[str, NDArray[np.uint8]]
    photos: Photos
    method: str
    certificates: tuple[Certificate, ...] = ()
    float_layers: int = 0

    def __post_init__(self) -> None:
        check_float_layers(self.network, self.float_layers)
        if not all(0 < side <= MAX_SIDE for side in self.size):
            raise _refusal(f"an input of {self.size}")
        layers = self.layers
        if self.ranges.keys() != dict(stored_tensors(self.network, self.float_layers)).keys():
            raise _refusal("ranges of other layers than the network's")
        for name, greatest in self.ranges.items():
            if not MIN_RANGE <= greatest <= MAX_RANGE:
                raise _refusal(f"a range of {greatest} of {name}")
        if self.corrections.keys() != {layer.scope for layer in layers}:
            raise _refusal("corrections of other layers than the network's")
        for layer in layers:
            values = self.corrections[layer.scope]
            if values.dtype != np.float32 or values.shape != (layer.out_channels,):
                raise _refusal(f"corrections of {layer.scope}: {values.dtype} {values.shape}")
            if not np.abs(values).max() <= MAX_RANGE:  # NaN neither
                raise _refusal(f"corrections of {layer.scope} up to {np.abs(values).max()}")
        if self.roundings.keys() != {layer.scope for layer in layers}:
            raise _refusal("roundings of other layers than the network's")
        for layer in layers:
            bits = self.roundings[layer.scope]
            if bits.dtype != np.uint8 or bits.shape != (-(-math.prod(layer.weights_shape) // 8),):
                raise _refusal(f"roundings of {layer.scope}: {bits.dtype} {bits.shape}")
        for name in ("ranges", "corrections", "roundings"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Those in int8."""
        return self.network.convolutions[self.float_layers :]

    @property
    def last_float_layer(self) -> Layer | None:
        """The last of those in float32, whose values are stored in bytes for the first in int8."""
        return self.network.convolutions[self.float_layers - 1] if self.float_layers else None

    @property
    def sha256(self) -> str:
        """Of what decides the numbers: ranges, corrections, roundings; not what is said of them."""
        digest = hashlib.sha256()
        for name, greatest in sorted(self.ranges.items()):
            digest.update(f"{name} {greatest!r}\n".encode())
        for name, values in sorted(self.corrections.items()):
            digest.update(f"{name}\n".encode() + values.astype("<f4").tobytes())
        for name, bits in sorted(self.roundings.items()):
            digest.update(f"{name}\n".encode() + bits.tobytes())
        return digest.hexdigest()

    def to_bytes(self) -> bytes:
        """The file. Equal calibrations give equal bytes."""
        from safetensors.numpy import save

        net = self.network
        record = {
            "format": FORMAT,
            "family": net.family,
            "depth_multiplier": net.depth_multiplier,
            "input_range": list(net.input_range),
            "weights_sha256": self.weights_sha256,
            "size": list(self.size),
            "photos": asdict(self.photos),
            "method": self.method,
            "ranges": dict(self.ranges),
            "float_layers": self.float_layers,
            "certificates": [asdict(certificate) for certificate in self.certificates],
        }
        tensors: dict[str, NDArray[Any]]
        tensors = {f"{scope}/{_CORRECTION}": values for scope, values in self.corrections.items()}
        tensors |= {f"{scope}/{_ROUNDING}": bits for scope, bits in self.roundings.items()}
        return save(tensors, {"mobilenet_hub": json.dumps(record, sort_keys=True)})

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Self:
        """Read a file.

        Args:
            data: all of it.
            where: the file, for error messages.

        Raises:
            WeightsError: it is no calibration, or a damaged one.
        """
        tensors, metadata = parse_safetensors(data, where)
        try:
            record = parse_json(metadata.get("mobilenet_hub", ""))
            return cls(**_arguments(record, tensors))
        except (
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            OverflowError,
        ) as error:
            raise WeightsError(
                f"{where}: expected a calibration ({FORMAT}). Received: {error}"
            ) from error


def check_float_layers(net: Network, float_layers: int) -> None:
    """Raise unless so many of the first layers can stay in float32.

    Raises:
        WeightsError: none would be left in int8, or a residual would reach from float32 into int8.
    """
    scopes = [layer.scope for layer in net.convolutions]
    whole = isinstance(float_layers, int) and 0 <= float_layers < len(scopes)
    if not whole or any(
        layer.residual in scopes[: max(float_layers - 1, 0)]
        for layer in net.convolutions[float_layers:]
    ):
        raise WeightsError(
            f"float_layers must be 0 to {len(scopes) - 1}, and not end inside of a block with a "
            f"residual. Received: {float_layers!r}"
        )


def _arguments(record: Any, tensors: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    if record["format"] != FORMAT:
        raise _refusal(f"format {printable(record['format'])[:100]!r}")
    height, width = map(_whole, record["size"])
    low, high = map(float, record["input_range"])
    if not -math.inf < low < high < math.inf:
        raise _refusal(f"pixels from {low} to {high}")
    return {
        "network": network(
            record["family"], float(record["depth_multiplier"]), input_range=(low, high)
        ),
        "weights_sha256": printable(record["weights_sha256"])[:64],
        "size": (height, width),
        "ranges": {str(name): float(greatest) for name, greatest in record["ranges"].items()},
        "corrections": _ending(_CORRECTION, tensors),
        "roundings": _ending(_ROUNDING, tensors),
        "photos": _photos(record["photos"]),
        "method": printable(record["method"]),
        "certificates": tuple(map(_certificate, record["certificates"])),
        "float_layers": _whole(record.get("float_layers", 0)),
    }


def _ending(what: str, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {
        name.removesuffix(f"/{what}"): values
        for name, values in tensors.items()
        if name.endswith(f"/{what}")
    }


def _photos(values: Any) -> Photos:
    return Photos(printable(values["name"]), _whole(values["count"]), printable(values["sha256"]))


def _certificate(values: Any) -> Certificate:
    known = {
        name: float(value)
        for name in ("recall", "agreement", "top1_loss")
        if (value := values[name]) is not None
    }
    interval = values["top1_interval"]
    if interval is not None:
        low, high = map(float, interval)
        interval = (low, high)
    return Certificate(
        photos=_photos(values["photos"]),
        engine=printable(values["engine"]),
        instruction_set=printable(values["instruction_set"]),
        cosine=float(values["cosine"]),
        least_cosine=float(values["least_cosine"]),
        top1_interval=interval,
        **known,
    )


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise _refusal(f"{value!r:.50} for a whole number")
    return value


def _refusal(received: str) -> WeightsError:
    return WeightsError(f"expected a calibration of the network. Received: {received}")
