"""Sides follow the content: stratified, stable, and nothing that belongs together is torn apart."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest

from mobilenet_hub.pipeline.sources.items import FileItem
from mobilenet_hub.retraining.data.features import Photos
from mobilenet_hub.retraining.data.split import decide_sides, folds_of, strata
from mobilenet_hub.retraining.data.ties import Ties
from mobilenet_hub.retraining.records import Data

HALVES = {"validation_share": 0.1, "test_share": 0.1}


def digest(name):
    return hashlib.sha256(str(name).encode()).digest()


def photos_of(names, features=None):
    """Photos whose content is their name: different ones look different."""
    random = np.random.default_rng(0)
    if features is None:
        features = random.normal(size=(len(names), 64)).astype(np.float32)
    hashes = [hashlib.blake2b(str(name).encode(), digest_size=32).digest() for name in names]
    return Photos([digest(name) for name in names], hashes, features)


def data_of(names, targets, **more):
    items = tuple(FileItem(f"/{at}", f"{at}") for at in range(len(names)))
    labels = tuple(f"class {number}" for number in range(max(targets) + 1))
    return Data(labels, items, np.array(targets, np.int64), **more)


def split(names, targets, *, earlier=None, features=None, groups=None, **more):
    photos = photos_of(names, features)
    data = data_of(names, targets, groups=groups, **more)
    ties = Ties(photos, groups)
    return decide_sides(data, photos.digests, ties, earlier or {}, **HALVES)


def test_every_class_has_its_share_on_every_side():
    targets = [number % 40 for number in range(2000)]
    sides = split(range(2000), targets).sides
    counts = Counter(zip(targets, sides, strict=True))
    for number in range(40):
        assert all(3 <= counts[number, side] <= 8 for side in ("val", "test")), counts
    assert 160 <= sides.count("test") <= 240


def test_few_photos_make_no_test_side():
    sides = split(range(400), [number % 4 for number in range(400)]).sides
    assert "test" not in sides and 60 <= sides.count("val") <= 100


def test_a_class_of_two_keeps_one_to_learn_from():
    sides = split(range(102), [0] * 100 + [1] * 2).sides
    assert "train" in sides[100:]


def test_a_photo_keeps_its_side_in_another_class_and_among_other_photos():
    names = list(range(3000))
    first = split(names, [number % 10 for number in names]).sides
    moved = split(names, [(number + (number == 7)) % 10 for number in names]).sides
    assert moved == first
    more = split([*names, *range(5000, 5500)], [*(n % 10 for n in names), *[10] * 500]).sides
    assert more[:3000] == first


def test_the_earlier_split_wins():
    names = list(range(300))
    earlier = {digest(number): ("val" if number < 250 else "train") for number in names}
    sides = split(names, [number % 3 for number in names], earlier=earlier).sides
    assert sides == ["val"] * 250 + ["train"] * 50


def test_copies_near_copies_and_groups_stay_on_one_side():
    random = np.random.default_rng(1)
    names = [number // 2 if number < 100 else number for number in range(600)]  # 50 exact copies
    features = random.normal(size=(600, 64)).astype(np.float32)
    features[:100:2] = features[1:100:2]
    features[100:200:2] = features[101:200:2] + 1e-3  # 50 near ones
    groups = ["" if number < 200 else f"animal {number // 5}" for number in range(600)]
    sides = split(names, [number % 2 for number in range(600)], features=features, groups=groups)
    pairs = [sides.sides[at] == sides.sides[at + 1] for at in range(0, 200, 2)]
    assert all(pairs)
    for start in range(200, 600, 5):
        assert len(set(sides.sides[start : start + 5])) == 1
    assert len(set(sides.sides)) > 1


def test_a_new_photo_that_ties_two_sides_together_is_left_out_and_no_other():
    names = ["old train", "old val", "bridge", "beside train", *range(200)]
    features = np.random.default_rng(2).normal(size=(204, 64)).astype(np.float32)
    groups = ["A", "B", "A", "A", *[""] * 200]
    features[2] = features[1]  # the bridge looks like the validation photo, and is of group A
    earlier = {digest("old train"): "train", digest("old val"): "val"}
    targets = [0, 1, 0, 0, *(number % 2 for number in range(200))]
    found = split(names, targets, features=features, groups=groups, earlier=earlier)
    assert found.left_out.tolist() == [2]
    assert found.sides[:2] == ["train", "val"] and found.sides[3] == "train"


def test_a_given_split_is_kept_and_its_leaks_are_found():
    features = np.random.default_rng(3).normal(size=(6, 64)).astype(np.float32)
    features[4] = features[1]
    names = ["same", "b", "c", "same", "e", "f"]
    groups = ["", "", "x", "", "", "x"]
    sides = ("train", "train", "train", "val", "test", "val")
    found = split(names, [0, 1, 0, 0, 1, 1], features=features, groups=groups, sides=sides)
    assert tuple(found.sides) == sides
    told = [(leak.row, leak.other, leak.reason) for leak in found.leaks]
    assert told == [(3, 0, "copy"), (4, 1, "near copy"), (5, 2, "group")]


@pytest.mark.parametrize("repeat", range(3))
def test_folds_are_stratified_and_tear_nothing_apart(repeat):
    classes = np.arange(500) % 5
    components = np.arange(500)
    components[1::10] = components[0::10]
    digests = [digest(number) for number in range(500)]
    folds = folds_of(classes, components, digests, 5, repeat)
    assert (folds[1::10] == folds[0::10]).all()
    for number in range(5):
        counts = np.bincount(folds[classes == number], minlength=5)
        assert counts.max() - counts.min() <= 2


def test_other_repeats_are_other_folds():
    classes, components = np.zeros(100, np.int64), np.arange(100)
    digests = [digest(number) for number in range(100)]
    first, second = (folds_of(classes, components, digests, 5, repeat) for repeat in (0, 1))
    assert (first != second).any()


def test_several_labels_are_stratified_by_the_rarest():
    targets = np.array([[1, 1], [1, 0], [1, 0], [0, 0]], bool)
    data = Data(("common", "rare"), (), targets)
    assert strata(data).tolist() == [1, 0, 0, 2]


def test_sides_do_not_depend_on_the_order_that_photos_are_listed_in():
    """`make_image_classifier` drew validation photos from a list shuffled in another way."""
    names = list(range(1500))
    shuffled = np.random.default_rng(4).permutation(1500).tolist()
    first = dict(zip(names, split(names, [n % 5 for n in names]).sides, strict=True))
    second = split(shuffled, [n % 5 for n in shuffled]).sides
    assert first == dict(zip(shuffled, second, strict=True))
