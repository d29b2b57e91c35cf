"""The weights that travel inside the package, so that it works with no network at all.

`scripts/vendor_weights.py` rebuilds them from public registry packages; what each file is, and
where it came from, is in its own metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from mobilenet_hub.weights.canonical import Weights, load

# Checkpoint key (see `catalog.ModuleInfo`) to the sha256 of its file.
EMBEDDED: Mapping[str, str] = MappingProxyType(
    {
        "mobilenet_v1_025_224": "4107cabdc65e45adfda081f1d4467b31a2a6da1ba38e78b16d9e42c03a68e673",
        "mobilenet_v2_035_224": "d173a3f34ae8da92d82a5df6c155f991b96db291f5ce5055c69582064b364e1f",
        "mobilenet_v2_100_224": "9de3fa00975d779c8fbd176515c314d06d7e3c9204414401be533bb6d0519271",
        "mobilenet_v2_140_224": "fdc6557b2c6e8455c27e039b20b1965dcca460dbe25e47037335420cf3d6ea2a",
    }
)
# Those whose file ends at the feature vector.
WITHOUT_LOGITS = frozenset({"mobilenet_v2_035_224", "mobilenet_v2_100_224"})


def embedded_path(checkpoint_key: str) -> Path:
    """Path of an embedded file."""
    return Path(str(files("mobilenet_hub").joinpath(f"data/weights/{checkpoint_key}.safetensors")))


def load_embedded(checkpoint_key: str) -> Weights:
    """The embedded weights of a checkpoint.

    Raises:
        KeyError: there are none.
        WeightsError: the installed file was changed or damaged.
    """
    return load(embedded_path(checkpoint_key), sha256=EMBEDDED[checkpoint_key])
