"""Pictures to calibrate on, and a calibration that was measured on them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from mobilenet_hub.conversion.measure import measure
from mobilenet_hub.weights.calibration import Calibration, Photos
from mobilenet_hub.weights.canonical import fingerprint

PHOTOS = Photos("clouds", 24, "0" * 64)
_MEASURED: dict[tuple[str, int, int], Calibration] = {}


def clouds(count=24, size=96, seed=0):
    """Pictures of coloured clouds: uint8 [count, size, size, 3]."""
    rng = np.random.default_rng(seed)
    small = (rng.integers(0, 256, (5 + index % 9, 7, 3), np.uint8) for index in range(count))
    pictures = (
        Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC) for pixels in small
    )
    return np.stack([np.asarray(picture) for picture in pictures])


def measured(weights, size=96, float_layers=0):
    """A calibration of weights on clouds; measured once for all tests of a process."""
    key = (fingerprint(weights), size, float_layers)
    if key not in _MEASURED:
        _MEASURED[key] = measure(weights, clouds(size=size), PHOTOS, float_layers=float_layers)
    return _MEASURED[key]


def least_cosine(a, b):
    """Of the rows of two arrays."""
    return ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min()
