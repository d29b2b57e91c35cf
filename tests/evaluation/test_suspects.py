"""Photos whose label is probably wrong."""

from __future__ import annotations

import numpy as np

from evaluation_support import predictions, random_predictions
from mobilenet_hub.evaluation.suspects import find_suspects


def test_planted_wrong_labels_come_first():
    of = random_predictions(600, 6, sharpness=5)
    planted = [3, 77, 410]
    truth = of.truth.copy()
    truth[planted] = (truth[planted] + 1) % 6
    suspects = find_suspects(predictions(truth, of.probabilities))
    assert sorted(each.row for each in suspects[:3]) == planted
    for each in suspects[:3]:
        assert each.likely == of.truth[each.row]
        assert each.given == truth[each.row]
        assert each.likely_probability > each.given_probability
    assert len(suspects) < 30


def test_what_is_uncertain_is_no_suspect():
    probabilities = [[0.95, 0.05], [0.9, 0.1], [0.45, 0.55], [0.1, 0.9], [0.05, 0.95]]
    assert find_suspects(predictions([0, 0, 0, 1, 1], probabilities)) == []


def test_a_class_that_no_photo_has_is_suspected_of_nothing():
    assert find_suspects(predictions([0, 0], [[0.1, 0.9], [0.9, 0.1]])) == []


def test_of_several_labels_each_is_a_question_of_its_own():
    random = np.random.default_rng(0)
    truth = random.random((200, 3)) < 0.4
    probabilities = np.where(truth, 0.9, 0.1) + random.normal(0, 0.03, truth.shape)
    given = truth.copy()
    given[5, 1] ^= True
    (suspect,) = find_suspects(predictions(given, np.clip(probabilities, 0, 1)))[:1]
    assert (suspect.row, suspect.given) == (5, 1)
    assert suspect.likely_probability > 0.7
