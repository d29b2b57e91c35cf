"""Reliability of probabilities, and accuracy by coverage."""

from __future__ import annotations

import numpy as np
import pytest

from mobilenet_hub.evaluation.calibration import BINS, coverage_curve, coverage_point, reliability


def test_what_is_said_with_80_percent_and_right_in_60_is_off_by_20():
    right = np.arange(10) < 6
    measured = reliability(np.full(10, 0.8), right)
    assert measured.error == pytest.approx(0.2)
    (filled,) = [each for each in measured.bins if each.count]
    assert filled.low < 0.8 <= filled.high
    assert (filled.count, filled.confidence, filled.accuracy) == pytest.approx((10, 0.8, 0.6))
    assert len(measured.bins) == BINS


def test_each_bin_weighs_as_much_as_it_has_predictions():
    confidence = np.array([0.95] * 30 + [0.55] * 10)
    right = np.array([True] * 30 + [False] * 10)
    assert reliability(confidence, right).error == pytest.approx(0.75 * 0.05 + 0.25 * 0.55)


def test_the_first_bin_has_0_the_last_has_1_and_no_predictions_no_error():
    bins = reliability(np.array([0.0, 1.0]), np.array([False, True])).bins
    assert (bins[0].count, bins[-1].count) == (1, 1)
    assert reliability(np.array([]), np.array([], bool)).error == 0


def test_who_answers_only_where_sure_is_right_more_often():
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    right = np.array([True, True, False, True])
    points = coverage_curve(scores, right)
    by_coverage = {point.coverage: point.accuracy for point in points}
    assert by_coverage == pytest.approx({0.25: 1, 0.5: 1, 0.75: 2 / 3, 1: 3 / 4})
    assert [point.threshold for point in points] == [0.9, 0.8, 0.7, 0.6]


def test_photos_of_the_same_score_are_answered_together_in_whatever_order_they_come():
    scores, right = np.array([0.5, 0.5, 0.9, 0.5]), np.array([True, False, True, True])
    points = coverage_curve(scores, right)
    assert [point.coverage for point in points] == [0.25, 1]
    order = [3, 1, 0, 2]
    assert coverage_curve(scores[order], right[order]) == points
    assert coverage_curve(np.array([]), np.array([], bool)) == ()


def test_photos_of_nothing_are_rejected_below_the_threshold():
    scores, right = np.array([0.9, 0.4]), np.array([True, False])
    point = coverage_point(0.5, scores, right, np.array([0.1, 0.2, 0.6, 0.5]))
    assert point.to_dict() == {"threshold": 0.5, "coverage": 0.5, "accuracy": 1, "rejected": 0.5}
    assert coverage_point(0.5, scores, right).rejected is None
    assert coverage_point(2.0, scores, right).accuracy == 1
