"""Rebuild the calibrations inside the package: what int8 needs to know of its four networks.

    python scripts/vendor_calibrations.py ../shared                    # measure, write, print
    python scripts/vendor_calibrations.py ../shared --certify-only     # on another CPU: add to them

The photos stay where they are; the records name them: one of every tenth ImageNet class, with known
classes, calibrate and, each half for the other, certify; bees and ants, and groceries, of which
none was calibrated on, certify too.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
from dataclasses import replace
from pathlib import Path

from mobilenet_hub.conversion.calibrate import ReadPhotos, read_photos
from mobilenet_hub.conversion.certify import certify
from mobilenet_hub.conversion.measure import measure
from mobilenet_hub.files import write_atomically
from mobilenet_hub.pipeline.sources.resolve import open_sources
from mobilenet_hub.settings import PreprocessingSettings
from mobilenet_hub.weights.calibration import Calibration, Certificate, Photos
from mobilenet_hub.weights.canonical import Weights, load
from mobilenet_hub.weights.storage.calibrations import file_name, load_calibration
from mobilenet_hub.weights.storage.origins import BUNDLED

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "src/mobilenet_hub/data"
SIZE = (224, 224)
FLOAT_LAYERS = {"mobilenet_v1_025_224": 5}  # why: benchmarks/README.md
IMAGENET = "100 photos, one of every tenth ImageNet class"
OTHERS = (
    ("transfer/hymenoptera", "bees and ants (hymenoptera)"),
    ("transfer/grocery/val", "Grocery Store Dataset, validation photos"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="the folder with photos/ and transfer/")
    parser.add_argument("--certify-only", action="store_true")
    arguments = parser.parse_args()
    for key in BUNDLED:
        weights = load(DATA / f"weights/{key}.safetensors")
        only, float_layers = arguments.certify_only, FLOAT_LAYERS.get(key, 0)
        calibration = _calibrated(
            weights, arguments.shared, float_layers=float_layers, certify_only=only
        )
        name = file_name(calibration.weights_sha256, SIZE)
        write_atomically(DATA / "calibrations" / name, calibration.to_bytes())
        print(f"\n{key}: {name}")
        for certificate in calibration.certificates:
            print(f"  {certificate}")


def _calibrated(
    weights: Weights, shared: Path, *, float_layers: int, certify_only: bool
) -> Calibration:
    with _read(shared / "photos") as read:
        photos = Photos(IMAGENET, len(read.pixels), read.sha256)
        classes = _classes(shared / "photos/labels.csv", read) if weights.has_logits else None
        found = certify(weights, read.pixels, photos, float_layers=float_layers, classes=classes)
        if certify_only:
            calibration = load_calibration(weights, SIZE)
        else:
            calibration = measure(weights, read.pixels, photos, float_layers=float_layers)
    certificates = [found]
    for folder, name in OTHERS:
        with _read(shared / folder) as read:
            photos = Photos(name, len(read.pixels), read.sha256)
            found = certify(weights, read.pixels, photos, calibration=calibration)
            certificates.append(found)
    return replace(calibration, certificates=_merged(calibration.certificates, certificates))


def _merged(old: tuple[Certificate, ...], new: list[Certificate]) -> tuple[Certificate, ...]:
    """New certificates, and old ones of other instruction sets."""
    return (*new, *(c for c in old if c.instruction_set != new[0].instruction_set))


def _read(folder: Path) -> contextlib.AbstractContextManager[ReadPhotos]:
    return read_photos(open_sources(folder), PreprocessingSettings(*SIZE))


def _classes(table: Path, read: ReadPhotos) -> list[int]:
    with table.open(newline="") as file:
        classes = {row["file"]: int(row["class_index_of_1001"]) for row in csv.DictReader(file)}
    return [classes[Path(id).name] for id in read.ids]


if __name__ == "__main__":
    main()
