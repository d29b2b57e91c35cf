"""Photos on the page: those called what they are not, and their exact maps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evaluation_support import called, evaluation, module_of, page_of, predictions, with_photos
from mobilenet_hub.evaluation.records import Report
from mobilenet_hub.pipeline.sources.items import BytesItem
from pictures import encoded


@pytest.fixture(scope="module")
def two():
    return module_of(("ant", "bee"))


def test_wrong_answers_are_shown_the_surest_first_with_two_exact_maps_each(tmp_path, two):
    of = with_photos(predictions([0, 0, 1], [[0.9, 0.1], [0.3, 0.7], [0.8, 0.2]]))
    page = page_of(tmp_path, Report("", ("ant", "bee"), (evaluation(of),)), two)
    assert [image.format for image in page.images] == ["JPEG", "PNG", "PNG"] * 2
    assert {image.size for image in page.images} == {(128, 128), (4, 4)}
    assert page.text.index("2.jpg") < page.text.index("1.jpg")
    assert "0.jpg" not in page.text
    assert "in/" not in page.text  # the folder that all are in
    assert "2 photos called what they are not" in page.text


def test_a_photo_that_is_gone_leaves_a_gap(tmp_path, two):
    page = page_of(tmp_path, Report("", ("ant", "bee"), (evaluation(called([0], [1], 2)),)), two)
    assert page.images == []
    assert "no picture here" in page.text


def test_of_many_wrong_answers_some_are_shown_and_the_page_stays_small(tmp_path, two):
    of = called([0] * 500, [1] * 500, 2)
    of = replace(of, items=[BytesItem(f"{at}.jpg", "", encoded(at % 5)) for at in range(500)])
    page = page_of(tmp_path, Report("", ("ant", "bee"), (evaluation(of),)), two)
    assert "500 photos called what they are not; the 48 that the classifier was surest" in page.text
    assert (tmp_path / "report.html").stat().st_size < 1_500_000


def test_repeated_cross_validation_shows_a_photo_once(tmp_path, two):
    once = called([0, 1], [1, 1], 2)
    of = replace(called([0, 1] * 3, [1, 1] * 3, 2), items=[*once.items] * 3)
    report = Report("", ("ant", "bee"), (evaluation(of, repeats=3),))
    page = page_of(tmp_path, report, two)
    assert "1 photo called what it is not" in page.text
    assert "2 photos, 3 times" in page.text


def test_behind_a_hidden_layer_there_are_no_heat_maps_and_the_page_says_so(tmp_path):
    module = module_of(("ant", "bee"), hidden=8)
    of = with_photos(called([0], [1], 2))
    page = page_of(tmp_path, Report("", ("ant", "bee"), (evaluation(of),)), module)
    assert [image.format for image in page.images] == ["JPEG"]
    assert "there is a hidden layer" in page.text


def test_of_a_photo_that_is_there_several_times_the_surest_answer_decides_its_place(tmp_path, two):
    items = [BytesItem(f"{at % 2}.jpg", "", encoded(at % 2)) for at in range(4)]
    of = predictions([0] * 4, [[0.4, 0.6], [0.3, 0.7], [0.1, 0.9], [0.2, 0.8]])
    report = Report("", ("ant", "bee"), (evaluation(replace(of, items=items), repeats=2),))
    text = page_of(tmp_path, report, two).text
    assert text.index("0.jpg") < text.index("1.jpg")
    assert "90.0 %" in text
    assert "60.0 %" not in text
