"""The page of a classifier."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evaluation_support import (
    called,
    evaluation,
    module_of,
    page_of,
    predictions,
    random_predictions,
    with_photos,
)
from mobilenet_hub.evaluation.records import Curve, Listing, Report
from mobilenet_hub.evaluation.report import render_report
from mobilenet_hub.pipeline.sources.items import FileItem

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>'


@pytest.fixture(scope="module")
def two():
    return module_of(("ant", "bee"))


def test_accuracy_is_said_first_with_its_interval(tmp_path, two):
    of = called([0, 1] * 50, [0, 1] * 45 + [1, 0] * 5, 2)
    page = page_of(tmp_path, Report("Insects", ("ant", "bee"), (evaluation(of),)), two)
    assert "90.0 % right" in " ".join(page.text.split())
    assert "95 % interval 82.6 % to 94.5 %" in " ".join(page.text.split())
    assert "No photo of these was seen before." in page.text


def test_81_classes_have_a_matrix_and_1001_only_their_pairs(tmp_path):
    labels = [f"class {at}" for at in range(81)]
    of = random_predictions(600, 81, sharpness=2)
    page = page_of(tmp_path, Report("", labels, (evaluation(of),)), module_of(labels))
    assert page.tags.count("th") > 2 * 81
    assert page.tags.count("td") > 81 * 81
    many = [f"class {at}" for at in range(1001)]
    of = random_predictions(600, 1001, sharpness=2)
    page = page_of(tmp_path, Report("", many, (evaluation(of),)), module_of(many))
    assert "too many classes" in page.text
    assert page.tags.count("td") < 20_000


def test_calibration_coverage_and_rejection_are_drawn(tmp_path, two):
    of = random_predictions(200, 2)
    of = replace(of, reject_scores=np.linspace(0, 1, 200, dtype=np.float32))
    unknown = np.linspace(0, 0.5, 10, dtype=np.float32)
    report = Report("", ("ant", "bee"), (evaluation(of),), None, 0.25, unknown)
    page = page_of(tmp_path, report, two)
    assert page.tags.count("svg") >= 5  # interval, before and after, two ways to be sure
    text = " ".join(page.text.split())
    assert "before temperature: expected calibration error" in text
    assert "photos of nothing rejected 50.0 %" in text
    assert "0.250: 75.0 % of these photos are answered" in text


def test_suspects_curves_notes_lists_and_facts_are_there(tmp_path, two):
    of = random_predictions(60, 2, sharpness=4)
    truth = of.truth.copy()
    truth[7] = 1 - truth[7]
    rows = [(f"{at}.jpg", "not a JPEG") for at in range(400)]
    report = Report(
        "", ("ant", "bee"), (evaluation(of),), predictions(truth, of.probabilities),
        curves=(Curve("Loss of the head", "epoch", "loss", (1, 2), {"train": (2, 1)}),),
        notes=("Class ant has fewer than 10 photos.",),
        listings=(Listing("Unreadable", "Skipped.", ("photo", "why"), rows),),
        facts={"Hashes": {"model": "ab12", "sizes": [1, 2]}},
    )  # fmt: skip
    text = " ".join(page_of(tmp_path, report, two).text.split())
    assert "probably wrong" in text
    assert "0007.jpg" in text
    assert "Loss of the head" in text
    assert "Class ant has fewer than 10 photos." in text
    assert "299.jpg" in text
    assert "300.jpg" not in text
    assert "And 100 more." in text
    assert "ab12" in text
    assert "[1, 2]" in text


@pytest.mark.parametrize("by_others", [False, True])
def test_where_other_heads_answered_it_is_said_that_the_maps_are_not_theirs(
    tmp_path, two, by_others
):
    of = called([0, 1], [1, 0], 2)
    report = Report("", ("ant", "bee"), (evaluation(of, by_others=by_others),))
    text = " ".join(page_of(tmp_path, report, two).text.split())
    assert ("Maps are of the finished classifier" in text) == by_others


def test_several_labels_a_photo(tmp_path):
    truth = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0]], bool)
    of = with_photos(predictions(truth, [[0.9, 0.2, 0.1], [0.1, 0.8, 0.1], [0.7, 0.1, 0.1]]))
    labels = ("ant", "bee", "cow")
    page = page_of(tmp_path, Report("", labels, (evaluation(of),), of), module_of(labels))
    text = " ".join(page.text.split())
    assert "33.3 % exactly right" in text
    assert "mean average precision" in text
    assert "is ant 90.0 %, cow 10.0 %" in text
    assert "is none" in text
    assert [image.format for image in page.images[:2]] == ["JPEG", "PNG"]


def test_hostile_names_stay_text(tmp_path):
    labels = (EVIL, "</style></title>{{ title }}", "c")
    of = replace(
        called([0, 1, 2], [1, 0, 0], 3, uncalibrated=None),
        items=[FileItem(f"{EVIL}/{EVIL}{at}.jpg") for at in range(3)],
    )
    report = Report(
        EVIL, labels, (replace(evaluation(of), name=EVIL, explanation=EVIL),), of,
        curves=(Curve(EVIL, EVIL, EVIL, (1, 2), {EVIL: (1, 2), "b": (1, 2)}),),
        notes=(EVIL,), listings=(Listing(EVIL, EVIL, (EVIL,), [(EVIL,)]),),
        facts={EVIL: {EVIL: EVIL}},
    )  # fmt: skip
    page = page_of(tmp_path, report, module_of(labels))
    assert "script" not in page.tags
    assert page.images == []
    assert page.text.count(EVIL) > 15
    assert "</style></title>{{ title }}" in page.text


def test_equal_reports_give_equal_pages(two):
    of = with_photos(random_predictions(30, 2, sharpness=1))
    report = Report("", ("ant", "bee"), (evaluation(of),), of)
    assert render_report(report, two) == render_report(report, two)
