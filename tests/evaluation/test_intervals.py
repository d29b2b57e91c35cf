"""Shares of photos and their intervals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenet_hub.evaluation.intervals import Proportion, rounded_dict


@pytest.mark.parametrize(
    ("count", "photos", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe, "Two-sided confidence intervals", 1998, table I
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
    ],
)
def test_intervals_are_those_of_the_literature(count, photos, low, high):
    share = Proportion.of(count, photos)
    assert share.value == count / photos
    assert (share.low, share.high) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500), st.integers(0, 500), st.integers(1, 5))
def test_a_share_lies_in_its_interval_and_repeating_photos_makes_nothing_surer(photos, n, repeats):
    count = min(n, photos)
    share = Proportion.of(count * repeats, photos * repeats, repeats=repeats)
    assert 0 <= share.low <= share.value + 1e-12
    assert share.value <= share.high + 1e-12 <= 1 + 1e-12
    once = Proportion.of(count, photos)
    assert (share.low, share.high) == pytest.approx((once.low, once.high))
    assert share.photos == photos


def test_of_no_photos_nothing_is_known():
    assert Proportion.of(0, 0).to_dict() == {"value": 0, "low": 0, "high": 1, "photos": 0}


def test_in_words():
    assert str(Proportion.of(143, 153)) == "93.5 % (88.4 % to 96.4 %)"


def test_figures_are_rounded_however_deep_they_lie():
    assert rounded_dict({"a": [1 / 3, 2, None], "b": (True, "c")}) == {
        "a": [0.333333, 2, None],
        "b": [True, "c"],
    }
