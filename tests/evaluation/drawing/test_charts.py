"""Drawings: what is in them, and that names stay text."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mobilenet_hub.evaluation.calibration import reliability
from mobilenet_hub.evaluation.drawing.charts import (
    interval_chart,
    legend,
    line_chart,
    reliability_chart,
)
from mobilenet_hub.evaluation.records import Curve


def parsed(svg):
    """An element tree; HTML needs no quotes around attributes, XML does."""
    return ElementTree.fromstring(re.sub(r"=([^\s\"/>]+)", r'="\1"', str(svg)))


def points(svg):
    lines = [line.get("points").split() for line in parsed(svg).iter("polyline")]
    return [[tuple(map(float, point.split(","))) for point in line] for line in lines]


def test_lines_go_from_left_to_right_and_larger_values_are_higher():
    curve = Curve("Loss", "epoch", "loss", (1, 2, 3), {"train": (3.0, 2.0, 1.0), "val": (3, 3, 4)})
    falling, rising = points(line_chart(curve))
    assert [x for x, _ in falling] == sorted(x for x, _ in falling)
    assert [y for _, y in falling] == sorted(y for _, y in falling)
    assert rising[2][1] < rising[0][1]
    assert [style for style, _ in legend(["train", "val"])] == ["first", "second"]


def test_equal_factors_are_equal_steps_on_a_logarithmic_axis():
    curve = Curve("L2", "l2", "share", (0.01, 0.1, 1.0), {"a": (0, 1, 2)}, logarithmic=True)
    ((first, second, third),) = points(line_chart(curve))
    assert round(second[0] - first[0], 0) == round(third[0] - second[0], 0)


@given(
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=40, unique=True).map(sorted),
    st.floats(-1e6, 1e6) | st.just(float("nan")),
)
def test_whatever_the_values_are_the_drawing_holds_them(x, value):
    curve = Curve("", "x", "y", tuple(x), {"line": (value, *[0.5] * (len(x) - 1))}, chosen=x[0])
    for line in points(line_chart(curve)):
        assert all(0 <= x <= 460 and 0 <= y <= 300 for x, y in line)


def test_no_points_are_an_empty_drawing():
    assert points(line_chart(Curve("", "x", "y", (), {"line": ()}))) == [[]]


def test_a_bar_ends_where_the_accuracy_is():
    bins = reliability(np.array([0.9] * 4), np.array([True, True, True, False]))
    (bar,) = parsed(reliability_chart(bins, "title")).iter("rect")
    top, bottom = float(bar.get("y")), float(bar.get("y")) + float(bar.get("height"))
    assert (bottom - top) / (bottom - 12) == 0.75
    assert "4 predictions of 90% on average: 75% right" in bar.find("title").text


def test_an_interval_lies_around_its_value():
    _, spread, value = parsed(interval_chart(0.5, 0.4, 0.6, "50 %")).iter("rect")
    assert (float(spread.get("x")), float(spread.get("width"))) == (160, 80)
    assert float(value.get("x")) == 198


def test_names_of_axes_and_titles_stay_text():
    evil = '"><script>alert(1)</script>'
    text = str(line_chart(Curve(evil, evil, evil, (0, 1), {evil: (0, 1)})))
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 3


def test_ticks_of_shares_are_told_apart():
    svg = line_chart(Curve("", "x", "y", (0, 1), {"a": (0.972, 0.984)}), shares=True)
    words = [text.text for text in parsed(svg).iter("text") if text.text.endswith("%")]
    assert len(words) == len(set(words)) > 4


def test_what_was_chosen_before_the_first_point_is_marked_within_the_drawing():
    svg = line_chart(Curve("", "epoch", "loss", (1, 2, 3), {"a": (3, 2, 1)}, chosen=0))
    (mark,) = [line for line in parsed(svg).iter("line") if line.get("class") == "chosen"]
    ((first, *_),) = points(svg)
    assert 54 <= float(mark.get("x1")) < first[0]
