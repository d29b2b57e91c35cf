"""Small pictures for tests: every one different, so that a row that moved is noticed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

# The smallest network whose real weights are bundled; from version 3 on it takes any size.
SMALL = "google/imagenet/mobilenet_v1_025_224/feature_vector/5"
SMALL_CLASSIFIER = "google/imagenet/mobilenet_v1_025_224/classification/5"
SIZE = (32, 32)


def picture(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """A picture of soft coloured clouds, width by height."""
    values = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)


def encoded(seed: int, kind: str = "JPEG", size: tuple[int, int] = (48, 40)) -> bytes:
    """Its file."""
    file = io.BytesIO()
    picture(seed, size).save(file, kind)
    return file.getvalue()


def write_pictures(folder: Path, count: int, *, start: int = 0) -> list[Path]:
    """Files `0000.jpg`, `0001.jpg`, ...; returns their paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{start + index:04d}.jpg" for index in range(count)]
    for index, path in enumerate(paths):
        path.write_bytes(encoded(start + index))
    return paths
