"""Progress: lines of JSON for programs, a bar for people, nothing in a pipe."""

from __future__ import annotations

import io
import json
import threading

import pytest

from mobilenet_hub.pipeline import progress
from mobilenet_hub.pipeline.results import Counts


class Terminal(io.StringIO):
    def isatty(self):
        return True


def counted(value):
    """A count, and an event that tells when it was asked for."""
    asked = threading.Event()

    def count():
        asked.set()
        if isinstance(value, Exception):
            raise value
        return value

    return count, asked


def lines(total, *counts):
    stream = io.StringIO()
    count, asked = counted(total)
    shown = progress.make_progress("json", count, stream)
    assert asked.wait(30)
    for done in counts:
        shown.update(Counts(*done))
    shown.close()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_of_json_a_second_and_one_at_the_end(monkeypatch):
    monkeypatch.setattr(progress, "JSON_PERIOD_SECONDS", 0.0)
    first, second, last = lines(None, (2, 1, 0), (4, 1, 5))
    assert [(line["done"], line["failed"], line["skipped"]) for line in (first, second, last)] == [
        (2, 1, 0), (4, 1, 5), (4, 1, 5),
    ]  # fmt: skip
    monkeypatch.setattr(progress, "JSON_PERIOD_SECONDS", 1e9)
    assert len(lines(None, (2, 1, 0), (4, 1, 5))) == 1


def test_the_rest_is_foretold_where_the_total_is_known(monkeypatch):
    clock = iter((0.0, 10.0, 10.0, 10.0, 10.0, 10.0))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    shown = progress.make_progress("json", lambda: 30, stream)
    for thread in threading.enumerate():
        if thread.name == "mobilenet-hub-count":
            thread.join()
    shown.update(Counts(done=8, failed=2, skipped=10))
    shown.close()
    line = json.loads(stream.getvalue().splitlines()[-1])
    assert (line["total"], line["images_per_second"], line["eta_seconds"]) == (30, 1.0, 10.0)


@pytest.mark.parametrize("total", [None, OSError("no such folder")])
def test_a_total_that_cannot_be_had_is_left_out(total):
    (line,) = lines(total, (3, 0, 0))
    assert (line["total"], line["eta_seconds"], line["done"]) == (None, None, 3)


def test_a_bar_is_drawn_on_a_terminal_and_nowhere_else():
    for kind, stream in (("auto", Terminal()), ("bar", io.StringIO())):
        shown = progress.make_progress(kind, lambda: 10, stream)
        shown.update(Counts(done=4, failed=1))
        shown.close()
        assert "5/" in stream.getvalue()
        assert "1 failed" in stream.getvalue()
    for kind, stream in (("auto", io.StringIO()), ("none", Terminal())):
        shown = progress.make_progress(kind, lambda: 10, stream)
        shown.update(Counts(done=4, failed=1))
        shown.close()
        assert stream.getvalue() == ""


def test_other_work_that_takes_long_has_a_bar_of_its_own():
    shown = progress.make_progress("bar", lambda: 10, stream := io.StringIO())
    shown.update(Counts(done=10))
    for fold in (1, 2, 3):
        shown.step("folds", fold, 5)
    shown.close()
    last = stream.getvalue().splitlines()[-1]
    assert "folds" in last and "3/5" in last


def test_other_work_is_a_line_of_json_a_second_and_one_at_its_end():
    shown = progress.make_progress("json", lambda: 10, stream := io.StringIO())
    for fold in (1, 2, 3):
        shown.step("folds", fold, 3)
    shown.close()
    first, _ = map(json.loads, stream.getvalue().splitlines())
    assert (first["step"], first["done"], first["total"]) == ("folds", 3, 3)


def test_a_run_of_steps_alone_says_nothing_of_images():
    for kind in ("bar", "json"):
        shown = progress.make_progress(kind, stream=(stream := io.StringIO()))
        shown.step("layers", 52, 52)
        shown.close()
        assert "layers" in stream.getvalue() and "images" not in stream.getvalue()
