"""The weights that travel inside the package, so that it works with no network at all.

`scripts/vendor_weights.py` rebuilds them from public registry packages; what each file is, and
where it came from, is in its own metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mobilenet_hub.weights.canonical import Weights

# Checkpoint key (see `catalog.ModuleInfo`) to the sha256 of its file.
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


def bundled_path(checkpoint_key: str) -> Path:
    """Path of a bundled file."""
    return Path(str(files("mobilenet_hub").joinpath(f"data/weights/{checkpoint_key}.safetensors")))


def load_bundled(checkpoint_key: str) -> Weights:
    """The bundled weights of a checkpoint.

    Raises:
        KeyError: there are none.
        WeightsError: the installed file was changed or damaged.
    """
    from mobilenet_hub.weights.canonical import load

    return load(bundled_path(checkpoint_key), sha256=BUNDLED[checkpoint_key])
