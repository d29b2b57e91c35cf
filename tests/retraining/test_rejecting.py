"""What is unlike all that was learned from is called unknown; 95 % of the rest is not."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from mobilenet_hub.pipeline.outputs import l2_normalized
from mobilenet_hub.retraining.rejecting import (
    MOST_PROTOTYPES,
    choose_prototypes,
    fit_threshold,
    reject_scores,
)


def digests(count):
    return [hashlib.sha256(str(number).encode()).digest() for number in range(count)]


def test_few_photos_are_all_prototypes_and_many_are_a_sample_of_each_class():
    few = np.arange(100) % 2
    assert choose_prototypes(few, digests(100), 2).tolist() == list(range(100))
    many = np.arange(50_000) % 100
    chosen = choose_prototypes(many, digests(50_000), 100)
    assert len(chosen) <= MOST_PROTOTYPES and (np.bincount(many[chosen]) == 40).all()
    more = choose_prototypes(np.append(many, 0), digests(50_001), 100)
    assert len(set(chosen) ^ set(more)) <= 2


def test_a_photo_is_not_found_alike_to_itself_or_its_copies():
    features = np.eye(4, 8, dtype=np.float32)
    features[1] = features[0]
    prototypes = l2_normalized(features)
    ties = np.array([0, 0, 2, 3])
    assert reject_scores(features, prototypes).tolist() == [1, 1, 1, 1]
    assert reject_scores(features, prototypes, ties, ties).max() == 0


@pytest.mark.parametrize("count", [1, 20, 153, 1000])
def test_95_of_100_reach_the_threshold(count):
    scores = np.random.default_rng(0).uniform(-0.9, 0.9, count).astype(np.float32)
    kept = (scores >= fit_threshold(scores)).mean()
    assert kept >= 0.95 and (count < 100 or kept < 0.97)


def test_of_no_photo_there_is_no_threshold():
    assert fit_threshold(np.empty(0, np.float32)) is None
