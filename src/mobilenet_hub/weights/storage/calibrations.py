"""Where calibrations lie: those of the user in the cache, before those inside this package.

    calibrations/<sha256 of the feature tensors>_224x224.safetensors

Both have one name for one thing, so a calibration of the user's own takes the place of a bundled
one.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from stat import S_ISREG

from mobilenet_hub.errors import CacheError, MissingCalibrationError, WeightsError
from mobilenet_hub.weights.calibration import MAX_FILE_BYTES, Calibration
from mobilenet_hub.weights.canonical import Weights
from mobilenet_hub.weights.storage.cache import Cache
from mobilenet_hub.weights.storage.pins import tensor_digests

FOLDER = "calibrations"
_REMEDY = "Delete it, or measure anew: `mobilenet-hub calibrate`"


def load_calibration(weights: Weights, size: tuple[int, int]) -> Calibration:
    """The calibration of a network's features for an input size.

    Args:
        weights: of the network; what follows its features may be another classifier's.
        size: height and width.

    Raises:
        MissingCalibrationError: there is none; or weights of a classifier that was fitted with
            another one, and whose temperature and threshold are of the features that this one gave.
        WeightsError: it is damaged.
        CacheError: the cache cannot be read.
    """
    features, _ = tensor_digests(weights)
    fitted = weights.classifier.calibration_sha256 if weights.classifier else None
    others = []
    for path in _places(file_name(features, size)):
        if (calibration := _read(path)) is None:
            continue
        if (calibration.weights_sha256, calibration.size) != (features, size):
            raise WeightsError(f"{path}: a calibration of other weights. {_REMEDY}")
        if calibration.network.input_range != weights.network.input_range:
            continue
        if fitted in (None, calibration.sha256):
            return calibration
        others.append(path)
    if others:
        raise MissingCalibrationError(
            f"this classifier was fitted in int8 with the calibration of sha256 {fitted}: fit it "
            f"anew with `mobilenet-hub retrain`, or use another precision. Received: {others[0]}"
        )
    height, width = size
    raise MissingCalibrationError(
        "int8 needs to know how large the values inside the network become: measure it on photos "
        "like yours with `mobilenet-hub calibrate HANDLE PHOTOS`, or use another precision. "
        f"Received: {weights.metadata.get('source', 'weights')} at {height}x{width}, not calibrated"
    )


def keep_calibration(calibration: Calibration) -> Path:
    """Put a calibration into the cache, in place of one that is there; its path.

    Raises:
        CacheError: the cache cannot be written.
    """
    cache = Cache()
    path = cache.directory / FOLDER / file_name(calibration.weights_sha256, calibration.size)
    with cache.errors("write"):
        cache.write(path, calibration.to_bytes())
    return path


def kept_calibrations() -> list[tuple[Path, Calibration | None]]:
    """Those in the cache, with their files; None for one that is damaged.

    Raises:
        CacheError: the cache cannot be read.
    """
    cache = Cache()
    with cache.errors("read"):
        paths = sorted((cache.directory / FOLDER).glob("*.safetensors"))
    found: list[tuple[Path, Calibration | None]] = []
    for path in paths:
        try:
            found.append((path, _read(path)))
        except CacheError:
            raise
        except WeightsError:
            found.append((path, None))
    return found


def file_name(weights_sha256: str, size: tuple[int, int]) -> str:
    """What the file of a calibration is called."""
    return f"{weights_sha256}_{size[0]}x{size[1]}.safetensors"


def _places(name: str) -> Iterator[Path]:
    yield Cache().directory / FOLDER / name
    yield Path(str(files("mobilenet_hub").joinpath("data", FOLDER, name)))


def _read(path: Path) -> Calibration | None:
    with Cache().errors("read"):
        try:
            kind = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not S_ISREG(kind):  # a pipe would be waited for
            raise WeightsError(f"{path}: expected a file. Received: a folder or a device")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    try:
        if len(data) > MAX_FILE_BYTES:
            raise WeightsError(f"{path}: a calibration has at most {MAX_FILE_BYTES} bytes")
        return Calibration.from_bytes(data, str(path))
    except WeightsError as error:
        raise WeightsError(f"{error}. {_REMEDY}") from error
