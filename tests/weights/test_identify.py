"""Which module some weights are of: what names, handles and shapes tell."""

from __future__ import annotations

import pytest

from mobilenet_hub.catalog import modules
from mobilenet_hub.errors import (
    AmbiguousModuleError,
)
from mobilenet_hub.weights.identify import identify_module
from mobilenet_hub.weights.random_weights import random_weights
from weights_support import INFO


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("mobilenet_v1_0.25_160.ckpt", 160),
        ("mobilenet_v1_025_160", 160),
        ("MobileNet_v1_0.25_192_frozen.pb", 192),
        ("025-128-classification", 128),
        ("mobilenet_v1_0.5_160.ckpt", None),
        ("mobilenet_v2_0.25_160.ckpt", None),
        ("mobilenet_v1_0.25_1600", None),
    ],
)
def test_names_of_files_tell_the_size(name, size):
    weights = random_weights(INFO.network)
    if size is None:
        with pytest.raises(AmbiguousModuleError):
            identify_module(weights, names=[name])
    else:
        assert identify_module(weights, names=["/x/y", name]).image_size == size


@pytest.mark.parametrize("key", sorted({r.checkpoint_key for r in modules().values()}))
def test_every_checkpoint_is_known_by_the_name_of_its_archive(key):
    info = next(r for r in modules().values() if r.checkpoint_key == key)
    weights = random_weights(info.network, logits=False)
    assert identify_module(weights, names=[f"{info.checkpoint_name}.tgz"]).checkpoint_key == key
    assert identify_module(weights, names=[key]).checkpoint_key == key
