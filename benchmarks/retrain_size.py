"""How much memory `mobilenet-hub retrain` needs for very many photos: the whole command.

    python benchmarks/retrain_size.py [--photos 100000] [--classes 100] [--folder FOLDER]

The photos are small pictures, each another one; their features are made up and put into the cache
that the command reads: clusters with a spectrum like that of photos, several near copies in each
class. So nothing is embedded, and all else is as it is for photos: reading and hashing, near
copies, the split, strengths, folds, suspects, the report, the files. Printed are the greatest
memory of the process, its seconds by the clock and of processors, and what the command says.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIDE = 12  # pixels
COPIES = 50  # of so many photos one is a near copy of the one before


def prepare(folder: Path, photos: int, classes: int) -> None:
    """Write the photos, and their features into the cache."""
    from mobilenet_hub.catalog import EMBED_MODULE
    from mobilenet_hub.inference import in_inference
    from mobilenet_hub.pipeline.perceptual_hash import BYTES
    from mobilenet_hub.pipeline.processor import settings_for
    from mobilenet_hub.retraining.data.feature_cache import PART_ROWS
    from mobilenet_hub.retraining.data.features import feature_cache

    module = in_inference(EMBED_MODULE)
    settings = settings_for(module, {}, content_hash=True, perceptual_hash=True)
    cache = feature_cache(module, settings, print)
    random = np.random.default_rng(0)
    centres = 0.06 * random.gamma(0.3, 1.0, (classes, cache.wide)).astype(np.float32)
    falling = (np.arange(1, cache.wide + 1) ** -0.5).astype(np.float32)
    turn = np.linalg.qr(random.normal(size=(cache.wide, cache.wide)))[0].astype(np.float32)
    for start in range(0, photos, PART_ROWS):
        numbers = np.arange(start, min(start + PART_ROWS, photos))
        noise = random.normal(size=(len(numbers), cache.wide)).astype(np.float32) * falling
        features = np.maximum(centres[numbers % classes] + 6 * noise @ turn, 0)
        for at in range(COPIES, len(numbers), COPIES):
            features[at] = features[at - classes] * 1.01 if at >= classes else features[at]
        digests = []
        for number in numbers.tolist():
            place = folder / "photos" / f"class {number % classes:03d}" / f"{number:06d}.bmp"
            place.parent.mkdir(parents=True, exist_ok=True)
            data = bitmap(random.integers(0, 256, (SIDE, SIDE, 3), np.uint8))
            place.write_bytes(data)
            digests.append(hashlib.sha256(data).digest())
        cache.add(digests, [random.bytes(BYTES) for _ in digests], features)


def bitmap(pixels: np.ndarray) -> bytes:
    """A BMP file; `SIDE` is a multiple of 4, so that rows need no padding."""
    head = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 24, 0, pixels.nbytes, 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + pixels.nbytes, 0, 0, 54) + head + pixels.tobytes()


def measure(folder: Path) -> None:
    """Run the command as the only child of this small process."""
    command = [sys.executable, "-m", "mobilenet_hub", "retrain", str(folder / "photos")]
    start = time.perf_counter()
    subprocess.run([*command, "-o", str(folder / "classifier")], check=True)
    wall, usage = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = usage.ru_utime + usage.ru_stime
    print(f"{usage.ru_maxrss / 1e6 * 1.024:.2f} GB; {wall:.0f} s, {processor:.0f} s of processors")


def main() -> None:
    """Prepare in one process, measure in another: a child's figure begins with its parent's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="where it is kept, for another time")
    parser.add_argument("--step", choices=["prepare", "measure"], help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.step == "prepare":
        prepare(chosen.folder, chosen.photos, chosen.classes)
        return
    if chosen.step == "measure":
        measure(chosen.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        environment = {**os.environ, "MOBILENET_HUB_CACHE_DIR": str(folder / "cache")}
        steps = ["measure"] if (folder / "photos").exists() else ["prepare", "measure"]
        for step in steps:
            arguments = [sys.executable, *sys.argv, "--step", step, "--folder", str(folder)]
            subprocess.run(arguments, check=True, env=environment)


if __name__ == "__main__":
    main()
