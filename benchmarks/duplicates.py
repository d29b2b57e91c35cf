"""What `duplicates` finds: changed copies of photos, and other photos, by hash and by embedding.

    python benchmarks/duplicates.py PHOTOS [FOLDER...]

Each photo is changed in several ways. The table says of how many the change is still found, and how
many pairs of different photos are taken for copies.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

import mobilenet_hub as hub
from mobilenet_hub.pipeline.perceptual_hash import as_unit_vectors, perceptual_hash

THRESHOLDS = {"hash": (0.85, 0.75, 0.65), "embedding": (0.95, 0.9, 0.8)}


def part(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """A part of an image, edges as shares of its size."""
    width, height = image.size
    return image.crop(
        (int(left * width), int(top * height), int(right * width), int(bottom * height))
    )


def smaller(image: Image.Image, by: int) -> Image.Image:
    """An image in a fraction of its size."""
    size = (max(8, image.width // by), max(8, image.height // by))
    return image.resize(size, Image.Resampling.LANCZOS)


CHANGES: dict[str, tuple[int, Callable[[Image.Image], Image.Image]]] = {
    "half the size, quality 75": (75, lambda image: smaller(image, 2)),
    "a quarter of the size, quality 75": (75, lambda image: smaller(image, 4)),
    "quality 40": (40, lambda image: image),
    "a quarter brighter": (
        90,
        lambda image: image.point(lambda value: int(min(255, value * 1.25))),
    ),
    "mirrored": (90, ImageOps.mirror),
    "the central 90 %": (90, lambda image: part(image, 0.05, 0.05, 0.95, 0.95)),
    "a corner of 90 %": (90, lambda image: part(image, 0, 0, 0.9, 0.9)),
}


def versions(path: Path) -> Iterator[tuple[str, bytes]]:
    """A photo's own bytes, and those of its changed copies."""
    yield f"{path}|", path.read_bytes()
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    for name, (quality, change) in CHANGES.items():
        file = io.BytesIO()
        change(image).save(file, "JPEG", quality=quality)
        yield f"{path}|{name}", file.getvalue()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--limit", type=int, default=200, help="photos of each folder")
    arguments = parser.parse_args()
    photos = [
        p for f in arguments.folders for p in sorted(f.rglob("*.jpg"))[:: _step(f, arguments)]
    ]
    items = [version for photo in photos for version in versions(photo)]
    preprocess = hub.Preprocessing(224, 224)
    rows = np.stack([record.embedding for record in hub.embed(items, normalize="l2") if record.ok])
    vectors = {
        "hash": as_unit_vectors([perceptual_hash(preprocess(data)) for _, data in items]),
        "embedding": rows,
    }
    columns = [(by, limit) for by, limits in THRESHOLDS.items() for limit in limits]
    print(
        f"{len(photos)} photos\n\n| change | " + " | ".join(f"{b} {t}" for b, t in columns) + " |"
    )
    print("|---" * (len(columns) + 1) + "|")
    kinds = len(CHANGES) + 1
    for at, name in enumerate(CHANGES, 1):
        found = [
            np.mean(np.sum(vectors[by][::kinds] * vectors[by][at::kinds], axis=1) >= limit)
            for by, limit in columns
        ]
        print(f"| {name} | " + " | ".join(f"{share:.1%}" for share in found) + " |")
    pairs = np.triu_indices(len(photos), 1)
    wrong = [
        np.sum((vectors[by][::kinds] @ vectors[by][::kinds].T)[pairs] >= limit)
        for by, limit in columns
    ]
    print(
        f"| pairs of different photos, of {len(pairs[0]):,} | " + " | ".join(map(str, wrong)) + " |"
    )


def _step(folder: Path, arguments: argparse.Namespace) -> int:
    return max(1, len(list(folder.rglob("*.jpg"))) // arguments.limit)


if __name__ == "__main__":
    main()
