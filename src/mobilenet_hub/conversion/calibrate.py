"""`hub.calibrate`: what int8 needs to know of weights, from photos.

Photos are read once, into a temporary file, so that memory is bounded. From them come the range of
each tensor of activations and the correction of each bias; then, for each half with what the other
gave, how far int8 is from float32 on photos it has not seen.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mobilenet_hub.conversion.certify import certify
from mobilenet_hub.conversion.measure import measure
from mobilenet_hub.errors import ImageError, InputError, ItemError, WeightsError
from mobilenet_hub.images import preprocess
from mobilenet_hub.images.limits import max_bytes
from mobilenet_hub.inference import InferenceModule
from mobilenet_hub.pipeline.processor import reason_of
from mobilenet_hub.pipeline.progress import NO_PROGRESS, Progress
from mobilenet_hub.pipeline.results import Counts
from mobilenet_hub.pipeline.sources.resolve import open_sources
from mobilenet_hub.pipeline.sources.source import Source, SourceLike
from mobilenet_hub.runtime.contracts import Images
from mobilenet_hub.settings import PreprocessingSettings
from mobilenet_hub.weights.calibration import Calibration, Photos
from mobilenet_hub.weights.resolve import Spec
from mobilenet_hub.weights.storage.calibrations import keep_calibration

MIN_PHOTOS = 22  # so that of each half there are ten nearest
MAX_PHOTOS = 1000  # more change next to nothing


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What came of it.

    Attributes:
        calibration: with its certificate.
        path: where it is kept.
        failures: path and reason of the photos that were left out.
    """

    calibration: Calibration
    path: Path
    failures: tuple[tuple[str, str], ...]


def calibrate(
    module: Spec,
    photos: SourceLike | Source,
    *,
    name: str = "",
    size: tuple[int, int] | None = None,
    limit: int = MAX_PHOTOS,
    float_layers: int = 0,
    progress: Progress = NO_PROGRESS,
) -> Calibrated:
    """Measure what `precision="int8"` needs to know of weights, and keep it in the cache.

    ```python
    hub.calibrate("google/imagenet/mobilenet_v2_100_96/feature_vector", "photos/")
    hub.Module("google/imagenet/mobilenet_v2_100_96/feature_vector", precision="int8")
    ```

    Args:
        module: a module, its handle or the path of weights. It belongs to the weights of the
            features: classifiers with the same ones take the same calibration.
        photos: at least 22 varied ones like those that will be computed, better hundreds; see
            `hub.embed`.
        name: of the set of photos, for the record; by default that of the folder.
        size: height and width, where the module's input size is not fixed.
        limit: how many photos are taken, the first that can be read.
        float_layers: how many layers, the first, stay in float32: 5 is a third of the work of V1
            0.25, and halves what int8 changes (benchmarks/README.md).
        progress: told of photos that were read, and of layers.

    Raises:
        WeightsError: too few photos can be read, or so many layers cannot stay in float32.
        InputError: another size than the fixed one, or a limit below 22.
        UnknownHandleError, MissingWeightsError, SourceError, CacheError: as `hub.embed`.
    """
    loaded = InferenceModule(module, precision="float32")
    own = loaded.preprocessing
    height, width = size or (own.height, own.width)
    if loaded.info.fixed_size and (height, width) != (own.height, own.width):
        raise InputError(
            f"the input size of {loaded.info.handle} is fixed to {own.height}. "
            f"Received: {height}x{width}"
        )
    if not isinstance(limit, int) or limit < MIN_PHOTOS:
        raise InputError(f"limit must be a whole number, at least {MIN_PHOTOS}. Received: {limit}")
    source = photos if isinstance(photos, Source) else open_sources(photos)
    named = name or (Path(photos).name if isinstance(photos, str | Path) else "photos")
    settings = replace(own, height=height, width=width)
    weights = loaded.current_weights()
    with read_photos(source, settings, limit, progress) as read:
        described = Photos(named, len(read.pixels), read.sha256)
        calibration = measure(
            weights, read.pixels, described, float_layers=float_layers, progress=progress
        )
        certificate = certify(
            weights, read.pixels, described, float_layers=float_layers, progress=progress
        )
    calibration = replace(calibration, certificates=(certificate,))
    return Calibrated(calibration, keep_calibration(calibration), read.failures)


@dataclass(frozen=True, slots=True)
class ReadPhotos:
    """Photos as a network takes them.

    Attributes:
        pixels: [photos, height, width, 3], in a temporary file.
        ids: of the items.
        sha256: of the photos' own sha256s, in order.
        failures: path and reason of those that were left out.
    """

    pixels: Images
    ids: tuple[str, ...]
    sha256: str
    failures: tuple[tuple[str, str], ...]


@contextmanager
def read_photos(
    source: Source,
    settings: PreprocessingSettings,
    limit: int = MAX_PHOTOS,
    progress: Progress = NO_PROGRESS,
) -> Iterator[ReadPhotos]:
    """Decode the first photos of a source into a temporary file, each once.

    What is of one colour is left out, as is what cannot be read: it says nothing of photos.

    Raises:
        WeightsError: too few can be read.
    """
    digest, ids, failures = hashlib.sha256(), list[str](), list[tuple[str, str]]()
    seen: dict[bytes, str] = {}
    most = max_bytes(settings.max_pixels)
    image = np.empty(settings.shape, settings.dtype)
    with tempfile.TemporaryFile() as file:
        for item in source.items():
            try:
                data, _ = item.read(most)
                preprocess(data, settings, image, item.path)
                own = hashlib.sha256(data).digest()
                if own in seen:
                    raise ItemError("read", f"the same file as {seen[own]}")
                if (image == image[0, 0]).all():
                    raise ItemError("read", "a picture of one colour")
            except (ImageError, ItemError, OSError) as error:
                failures.append((item.path, reason_of(error)))
                continue
            seen[own] = item.path
            digest.update(own)
            ids.append(item.id)
            image.tofile(file)
            progress.update(Counts(len(ids), len(failures)))
            if len(ids) == limit:
                break
        if len(ids) < MIN_PHOTOS:
            reasons = "".join(f"; {path}: {reason}" for path, reason in failures[:3])
            raise WeightsError(
                f"Calibration needs at least {MIN_PHOTOS} photos, better hundreds of varied ones. "
                f"Received: {len(ids)} that can be used{reasons}"
            )
        file.flush()
        shape = (len(ids), *settings.shape)
        pixels = np.memmap(file, settings.dtype, "r", shape=shape)
        yield ReadPhotos(pixels, tuple(ids), digest.hexdigest(), tuple(failures))
