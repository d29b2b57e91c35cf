"""What ties photos together, and what does not."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from mobilenet_hub.retraining.data.features import Photos
from mobilenet_hub.retraining.data.ties import Ties


def photos_at(*degrees, names=None):
    """Photos whose features point into directions of a plane; near copies are 18 degrees apart."""
    angles = np.radians(degrees)
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    names = names or range(len(degrees))
    digests = [hashlib.sha256(str(name).encode()).digest() for name in names]
    hashes = [hashlib.blake2b(str(name).encode(), digest_size=32).digest() for name in names]
    return Photos(digests, hashes, features)


def test_copies_near_copies_and_groups_are_tied_through_others_too():
    photos = photos_at(0, 90, 15, 180, 30, 270, names=["a", "b", "c", "d", "e", "b"])
    assert Ties(photos).components.tolist() == [0, 1, 0, 3, 0, 1]
    groups = ["", "", "one", "one", "", ""]
    assert Ties(photos, groups).components.tolist() == [0, 1, 0, 0, 0, 1]


@pytest.mark.parametrize("groups", [None, ["", "x", ""], ["x", "x", "x"]])
def test_a_photo_that_is_left_out_ties_nothing(groups):
    ties = Ties(photos_at(0, 15, 30), groups)
    assert ties.components.tolist() == [0, 0, 0]
    alone = ties.components_without(np.array([False, True, False])).tolist()
    assert alone == ([0, 1, 0] if groups == ["x", "x", "x"] else [0, 1, 2])
