"""Photos a second of JPEG decoders, on one core and on all of them.

    pip install -e . opencv-python-headless 'PyTurboJPEG<2' imagecodecs
    apt-get install libturbojpeg0     # for PyTurboJPEG
    python benchmarks/decode.py ../shared/photos

Each decodes all photos to RGB; where it can, at the least n/8 of their size that still has the
pixels that a 96 or 224 network needs of their central square (`geometry.least_scale_num`). What is
not installed is left out. Decoders take turns, round after round; medians are reported. The last
column is the greatest difference, in levels, from TensorFlow's own decoding at full size, of which
`simplejpeg` with `fastdct=True` is bit for bit the same.
"""

from __future__ import annotations

import argparse
import io
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet_hub.images import Preprocessing
from mobilenet_hub.images.geometry import least_scale_num
from mobilenet_hub.runtime import available_threads

# Decodes bytes at n eighths of the size, or at full size if it cannot.
Decode = Callable[[bytes, int], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    photos = [path.read_bytes() for path in sorted(arguments.photos.glob("*.jpg"))]
    cores = available_threads()
    print(f"{platform.processor() or platform.machine()}, {len(photos)} photos\n")
    decoders = available()
    exact = decoders["simplejpeg, fast DCT"]
    # Column: input size of the network (None: full size), threads.
    columns: dict[str, tuple[int | None, int]] = {
        "full size": (None, 1), "for 224": (224, 1), "for 96": (96, 1),
        f"for 96, {cores} cores": (96, cores),
    }  # fmt: skip
    scales = {size: [scale(photo, size) for photo in photos] for size, _ in columns.values()}
    rates: dict[tuple[str, str], list[float]] = {}
    for _ in range(arguments.rounds):
        for name, decode in decoders.items():
            for column, (size, threads) in columns.items():
                taken = rate(decode, photos, scales[size], threads)
                rates.setdefault((name, column), []).append(taken)
        for column, (size, threads) in columns.items():
            if size is not None:
                taken = rate(whole(size), photos, scales[size], threads)
                rates.setdefault((WHOLE, column), []).append(taken)
    print(f"\n| decoder | {' | '.join(columns)} | differs by |")
    print("|---|" + "---:|" * (len(columns) + 1))
    for name in (*decoders, WHOLE):
        cells = [cell(rates.get((name, column))) for column in columns]
        if name != WHOLE:
            decode = decoders[name]
            cells.append(str(max(difference(decode, exact, photo) for photo in photos)))
        print(f"| {name} | {' | '.join(cells)} |")


WHOLE = "hub.Preprocessing (decode, crop, resize)"


def cell(rates: list[float] | None) -> str:
    return "" if rates is None else f"{statistics.median(rates):,.0f}"


def scale(photo: bytes, size: int | None) -> int:
    """The eighths needed for a network of that input size."""
    import simplejpeg

    height, width, _, _ = simplejpeg.decode_jpeg_header(photo)
    return 8 if size is None else least_scale_num((height, width), (size, size), "center")


def rate(decode: Decode, photos: list[bytes], scales: list[int], threads: int) -> float:
    start = time.perf_counter()
    if threads == 1:
        for photo, eighth in zip(photos, scales, strict=True):
            decode(photo, eighth)
    else:
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(decode, photos, scales):
                pass
    return len(photos) / (time.perf_counter() - start)


def difference(decode: Decode, exact: Decode, photo: bytes) -> int:
    one, other = np.asarray(decode(photo, 8), np.int16), np.asarray(exact(photo, 8), np.int16)
    return int(np.abs(one - other).max()) if one.shape == other.shape else -1


def available() -> dict[str, Decode]:
    """Decoders that are installed, by name."""
    decoders: dict[str, Decode] = {
        "simplejpeg, fast DCT": _simplejpeg(fast=True),
        "simplejpeg": _simplejpeg(fast=False),
        "Pillow": _pillow,
        "Pillow, draft": _pillow_draft,
    }
    for name, make in (
        ("PyTurboJPEG, fast DCT", _turbojpeg), ("OpenCV", _opencv), ("imagecodecs", _imagecodecs)
    ):  # fmt: skip
        try:
            decoders[name] = make()
        except (ImportError, RuntimeError, OSError) as error:
            print(f"{name} is left out: {error}")
    return decoders


def _simplejpeg(*, fast: bool) -> Decode:
    import simplejpeg

    def decode(photo: bytes, eighth: int) -> Any:
        height, width, _, _ = simplejpeg.decode_jpeg_header(photo, strict=False)
        return simplejpeg.decode_jpeg(
            photo, fastdct=fast, strict=False,
            min_height=-(-height * eighth // 8), min_width=-(-width * eighth // 8),
        )  # fmt: skip

    return decode


def _pillow(photo: bytes, eighth: int) -> Any:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(photo)).convert("RGB"))


def _pillow_draft(photo: bytes, eighth: int) -> Any:
    """Pillow's `draft` knows 1/1, 1/2, 1/4 and 1/8."""
    from PIL import Image

    image = Image.open(io.BytesIO(photo))
    image.draft("RGB", (image.width * eighth // 8, image.height * eighth // 8))
    return np.asarray(image.convert("RGB"))


def _turbojpeg() -> Decode:
    from turbojpeg import TJFLAG_FASTDCT, TJPF_RGB, TurboJPEG

    turbo = TurboJPEG()

    def decode(photo: bytes, eighth: int) -> Any:
        factor = Fraction(eighth, 8).as_integer_ratio()
        return turbo.decode(
            photo, pixel_format=TJPF_RGB, scaling_factor=factor, flags=TJFLAG_FASTDCT
        )

    return decode


def _opencv() -> Decode:
    """OpenCV knows 1/1, 1/2, 1/4 and 1/8; it applies EXIF unless told not to."""
    import cv2

    cv2.setNumThreads(1)
    flags = {1: cv2.IMREAD_REDUCED_COLOR_8, 2: cv2.IMREAD_REDUCED_COLOR_4}
    flags |= dict.fromkeys((3, 4), cv2.IMREAD_REDUCED_COLOR_2)

    def decode(photo: bytes, eighth: int) -> Any:
        flag = flags.get(eighth, cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(photo, np.uint8), flag)
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    return decode


def _imagecodecs() -> Decode:
    import imagecodecs

    def decode(photo: bytes, eighth: int) -> Any:
        return imagecodecs.jpeg8_decode(photo, outcolorspace="RGB")

    return decode


def whole(size: int) -> Decode:
    """What the pipeline does with a photo: not only decoding."""
    preprocessing = Preprocessing(size, size)
    return lambda photo, eighth: preprocessing(photo)


if __name__ == "__main__":
    main()
