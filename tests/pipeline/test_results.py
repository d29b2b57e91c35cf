"""What became of items: outcomes, rows, counts."""

from __future__ import annotations

import numpy as np

from mobilenet_hub.pipeline.results import Counts, Outcome, Results

GOOD = [Outcome(f"{at}.jpg", "") for at in range(3)]
BAD = Outcome("bad.jpg", "", stage="decode", reason="truncated")


def results():
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    return Results([GOOD[0], BAD, GOOD[1], GOOD[2]], features, skipped=["before.jpg"])


def test_each_half_of_results_has_the_rows_of_its_outcomes():
    for count in range(5):
        head, tail = results().split(count)
        assert head.outcomes + tail.outcomes == results().outcomes
        for half in (head, tail):
            assert len(half.features) == len(half.rows)
        np.testing.assert_array_equal(
            np.concatenate([head.features, tail.features]), results().features
        )
        assert (head.skipped, tail.skipped) == (["before.jpg"], [])


def test_every_item_is_counted_once():
    counts = Counts()
    counts.add(results())
    counts.add(Results(skipped=["a", "b"]))
    assert (counts.done, counts.failed, counts.skipped, counts.items) == (3, 1, 3, 7)
