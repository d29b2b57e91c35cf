"""Where each checkpoint can be had, as data, the first choice first.

Google's archive is what the module pages name. The modules on Kaggle Models hold the same
variables, and so do Hugging Face's conversions, for the few checkpoints that exist there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from mobilenet_hub.catalog import ModuleInfo, modules
from mobilenet_hub.files import TFHUB_CACHE_DIR_VARIABLE
from mobilenet_hub.weights.identify import sha1_of

# Those inside this package, so that it works with no network: key to the sha256 of the file.
# `scripts/vendor_weights.py` rebuilds them from public registry packages; what each file is, and
# where it came from, is in its own metadata.
BUNDLED: Mapping[str, str] = MappingProxyType(
    {
        "mobilenet_v1_025_224": "b3fca64722ffa95fa14f952c70ba115e4baef9107deffd8f8e7630d16269620d",
        "mobilenet_v2_035_224": "829db07ccacfae826dcbc8a16d080e3ff93e8856dd4a6d85c5b1048e08e6a198",
        "mobilenet_v2_100_224": "092d71dec13da859763f8f9e7f5436c74af916b3df8577e009d8be93dfa2924f",
        "mobilenet_v2_140_224": "6f6b22cae9460cf73aac4102ab876095497c39ebacdcb687b51c142ca125eca4",
    }
)
# Those whose file ends at the feature vector.
WITHOUT_LOGITS = frozenset({"mobilenet_v2_035_224", "mobilenet_v2_100_224"})

OFFLINE_VARIABLE = "MOBILENET_HUB_OFFLINE"
MIRROR_VARIABLE = "MOBILENET_HUB_MIRROR"
HUGGING_FACE_VARIABLE = "HF_ENDPOINT"

# Checkpoints in repositories google/<name> of Hugging Face, by their key.
HUGGING_FACE = {
    "mobilenet_v1_100_224": "google/mobilenet_v1_1.0_224",
    "mobilenet_v1_075_192": "google/mobilenet_v1_0.75_192",
    "mobilenet_v2_140_224": "google/mobilenet_v2_1.4_224",
    "mobilenet_v2_100_224": "google/mobilenet_v2_1.0_224",
    "mobilenet_v2_075_160": "google/mobilenet_v2_0.75_160",
    "mobilenet_v2_035_96": "google/mobilenet_v2_0.35_96",
}
_HUGGING_FACE_HUB = "https://huggingface.co"

Kind = Literal["url", "kaggle", "folder"]


@dataclass(frozen=True, slots=True)
class Origin:
    """One place to get a checkpoint from.

    Attributes:
        kind: `url`, one file; `kaggle`, a handle for kagglehub; `folder`, on this machine.
        address: the URL, handle or path.
    """

    kind: Kind
    address: str

    @property
    def name(self) -> str:
        """For people."""
        return f"Kaggle {self.address}" if self.kind == "kaggle" else self.address

    @property
    def license(self) -> str:
        """Of what is there, as far as it is known: whose copy a mirror holds, it alone says."""
        own = ("https://storage.googleapis.com/", f"{_HUGGING_FACE_HUB}/google/")
        if self.kind == "kaggle" or self.address.startswith(own):
            return "Apache-2.0 (Google's checkpoint)"
        return "not known: from a mirror (Google publishes this checkpoint under Apache-2.0)"


def offline() -> bool:
    """Whether MOBILENET_HUB_OFFLINE forbids the network: set, and not to 0, false or no."""
    return os.environ.get(OFFLINE_VARIABLE, "").strip().lower() not in ("", "0", "false", "no")


def remote_origins(info: ModuleInfo) -> list[Origin]:
    """Where to fetch the checkpoint of a module from, first choice first.

    With MOBILENET_HUB_MIRROR set to the address of a mirror (a folder of the archives under their
    own names), that alone is asked.
    """
    archive = info.checkpoint_url
    if mirror := os.environ.get(MIRROR_VARIABLE):
        return [Origin("url", f"{mirror.rstrip('/')}/{archive.rpartition('/')[2]}")]
    found = [Origin("url", archive)]
    if find_spec("kagglehub") is not None:
        found.append(Origin("kaggle", kaggle_handle(info)))
    if repository := HUGGING_FACE.get(info.checkpoint_key):
        endpoint = os.environ.get(HUGGING_FACE_VARIABLE) or _HUGGING_FACE_HUB
        address = f"{endpoint.rstrip('/')}/{repository}/resolve/main/model.safetensors"
        found.append(Origin("url", address))
    return found


def kaggle_handle(info: ModuleInfo) -> str:
    """The classification module of a checkpoint on Kaggle Models: it holds all its variables.

    Version 2 there is version 5 of tfhub.dev.
    """
    family = info.family.replace("_", "-")
    multiplier, size = info.checkpoint_key.split("_")[2:]
    return f"google/{family}/tensorFlow2/{multiplier}-{size}-classification/2"


def local_origins(info: ModuleInfo) -> Iterator[Origin]:
    """Modules of this checkpoint that `tensorflow_hub` has left in TFHUB_CACHE_DIR.

    It names a folder after the sha1 of the handle. Classification modules come first, which hold
    all variables; for a classification module, nothing else will do.
    """
    if not (directory := os.environ.get(TFHUB_CACHE_DIR_VARIABLE)):
        return
    records = [r for r in modules().values() if r.checkpoint_key == info.checkpoint_key]
    for record in sorted(records, key=lambda r: (r.task, -r.version)):
        if info.task == "classification" != record.task:
            continue
        folder = Path(directory).expanduser() / sha1_of(record.url)
        if (folder / "saved_model.pb").is_file():
            yield Origin("folder", str(folder))
