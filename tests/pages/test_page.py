"""Pages: what is put into one stays text, and only a page is replaced by a page."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenet_hub.errors import InputError
from mobilenet_hub.pages.page import count, percent, refuse_other_page, render_page, write_page
from pages import Page

EMPTY = {"explanation": "", "sections": []}


def shown(path, text):
    picture = {"id": text, "name": text, "note": text, "source": None, "link": None}
    path.write_bytes(render_page("sheet.html", title=text, explanation=text, sections=[[picture]]))
    return Page(path)


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"])))
def test_any_text_is_shown_as_it_is_and_adds_no_element(tmp_path_factory, text):
    page = shown(tmp_path_factory.mktemp("pages") / "page.html", text)
    assert page.tags == shown(tmp_path_factory.mktemp("pages") / "page.html", "plain").tags
    assert page.text.count(text) >= 4


def test_half_a_pair_of_characters_spoils_no_page(tmp_path):
    assert "\\udc80" in shown(tmp_path / "page.html", "a\udc80").text


def test_a_page_forbids_scripts_and_what_is_not_in_it():
    assert b"default-src 'none'; img-src data:" in render_page("sheet.html", title="", **EMPTY)


def test_equal_values_give_equal_bytes():
    first, second = (render_page("sheet.html", title="x", **EMPTY) for _ in range(2))
    assert first == second


def test_a_page_replaces_a_page_and_nothing_else(tmp_path):
    page = tmp_path / "page.html"
    for title in ("first", "second"):
        write_page(page, render_page("sheet.html", title=title, **EMPTY))
    assert "second" in Page(page).text
    other = tmp_path / "thesis.html"
    other.write_text("<!doctype html>")
    with pytest.raises(InputError, match=r"holds something else.*thesis\.html"):
        write_page(other, b"")
    with pytest.raises(InputError, match="holds something else"):
        refuse_other_page(tmp_path)
    with pytest.raises(FileNotFoundError):
        refuse_other_page(tmp_path / "nowhere" / "page.html")


def test_figures_in_words():
    assert percent(0.93464) == "93.5 %"
    assert percent(None) == "–"
    assert [count(1, "photo"), count(1234, "photo"), count(2, "class"), count(1500)] == [
        "1 photo", "1,234 photos", "2 classes", "1,500",
    ]  # fmt: skip
