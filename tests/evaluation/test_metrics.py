"""Figures of a classifier, held against their definitions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation_support import called, evaluation, predictions, random_predictions
from mobilenet_hub.evaluation.metrics import average_precision, measure

ABC = ("a", "b", "c")


def test_classes_have_precision_recall_and_f1():
    of = called([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 2], 3)
    metrics = measure(evaluation(of), ABC)
    a, b, c = metrics.classes
    assert (a.photos, a.predicted, a.correct) == (3, 3, 2)
    assert (a.precision, a.recall, a.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (b.precision, b.recall, b.f1) == pytest.approx((0.5, 0.5, 0.5))
    assert c.f1 == 1
    assert metrics.top_1.value == pytest.approx(4 / 6)
    assert metrics.macro_f1 == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert metrics.macro_recall == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert metrics.confusion.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_a_class_without_photos_has_no_recall_and_does_not_count_in_the_mean():
    metrics = measure(evaluation(called([0, 0], [0, 1], 3)), ABC)
    a, b, c = metrics.classes
    assert (b.precision, b.recall, b.f1) == (0, None, 0)
    assert (c.precision, c.recall, c.f1) == (None, None, None)
    assert metrics.macro_f1 == a.f1
    assert [each["label"] for each in metrics.to_dict()["classes"]] == ["a", "b"]


def test_the_most_confused_pairs_come_first():
    of = called([0, 0, 1, 2, 2, 2], [1, 1, 0, 2, 0, 0], 3)
    pairs = [(p.truth, p.predicted, p.photos) for p in measure(evaluation(of), ABC).confused()]
    assert pairs == [("a", "b", 2), ("c", "a", 2), ("b", "a", 1)]


def test_top_5_counts_the_class_among_the_five_most_probable_ties_by_index():
    probabilities = np.tile(np.array([6, 5, 4, 3, 2, 2, 1]) / 23, (7, 1))
    metrics = measure(evaluation(predictions(range(7), probabilities)), "abcdefg")
    assert metrics.top_5.value == pytest.approx(5 / 7)
    assert metrics.top_1.value == pytest.approx(1 / 7)
    assert measure(evaluation(called([0], [0], 5)), "abcde").top_5 is None


def test_calibration_is_measured_before_and_after_temperature():
    of = random_predictions(4000, 5)
    metrics = measure(evaluation(of), "abcde")
    assert metrics.calibrated.error < 0.02 < metrics.uncalibrated.error
    unscaled = predictions(of.truth, of.probabilities)
    assert measure(evaluation(unscaled), "abcde").uncalibrated is None


def test_repeats_count_a_photo_once_in_intervals():
    once = called([0, 1] * 10, [0, 0] * 10, 2)
    often = called([0, 1] * 50, [0, 0] * 50, 2)
    metrics = measure(evaluation(often, repeats=5), "ab")
    assert metrics.top_1 == measure(evaluation(once), "ab").top_1
    assert metrics.photos == 20


def test_rejection_is_measured_at_the_threshold_and_beside_it():
    of = called([0, 1, 0, 1], [0, 1, 1, 1], 2, reject_scores=np.array([0.9, 0.8, 0.3, 0.6], "f4"))
    unknown = np.array([0.1, 0.7], np.float32)
    metrics = measure(evaluation(of), "ab", reject_threshold=0.5, unknown_scores=unknown)
    point = metrics.rejection
    assert (point.coverage, point.accuracy, point.rejected) == (0.75, 1.0, 0.5)
    assert metrics.rejection_curve[-1].coverage == 1
    assert measure(evaluation(of), "ab").rejection is None


def test_several_labels_a_photo():
    truth = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 0, 0]], bool)
    probabilities = [[0.9, 0.1, 0.4], [0.2, 0.8, 0.1], [0.1, 0.1, 0.1], [0.7, 0.6, 0.2]]
    metrics = measure(evaluation(predictions(truth, probabilities)), ABC)
    assert metrics.top_1.value == 0.5  # exactly right: the second and the third
    a, b, c = metrics.classes
    assert (a.precision, a.recall) == (1, 1)
    assert (b.precision, b.recall) == (0.5, 1)
    assert (c.precision, c.recall, c.f1) == (None, 0, 0)
    assert metrics.micro_f1 == pytest.approx(2 * 3 / (4 + 4))
    assert (a.average_precision, b.average_precision, c.average_precision) == (1, 1, 1)
    assert metrics.mean_average_precision == 1
    assert metrics.top_5 is metrics.confusion is None
    assert metrics.coverage == ()
    json.dumps(metrics.to_dict())


def test_average_precision_is_the_area_below_precision_over_recall():
    truth = np.array([True, False, True, False])
    assert average_precision(np.array([0.9, 0.8, 0.7, 0.6]), truth) == pytest.approx(5 / 6)
    assert average_precision(np.full(4, 0.5), truth) == 0.5  # ties are one step
    assert average_precision(np.zeros(4), np.zeros(4, bool)) is None


@given(st.integers(2, 8), st.integers(1, 40), st.integers(0, 99))
def test_figures_agree_with_each_other_and_are_the_same_in_any_order(classes, photos, seed):
    of = random_predictions(photos, classes, seed=seed, sharpness=1)
    labels = [f"class {index}" for index in range(classes)]
    metrics = measure(evaluation(of), labels)
    assert metrics.confusion.sum() == photos
    assert np.trace(metrics.confusion) == round(metrics.top_1.value * photos)
    assert [c.photos for c in metrics.classes] == metrics.confusion.sum(axis=1).tolist()
    assert [c.predicted for c in metrics.classes] == metrics.confusion.sum(axis=0).tolist()
    assert metrics.coverage[-1].accuracy == pytest.approx(metrics.top_1.value)
    text = json.dumps(metrics.to_dict())
    order = np.random.default_rng(seed).permutation(photos)
    other = predictions(
        of.truth[order], of.probabilities[order], uncalibrated=of.uncalibrated[order]
    )
    assert json.dumps(measure(evaluation(other), labels).to_dict()) == text
