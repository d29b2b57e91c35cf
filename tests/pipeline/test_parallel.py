"""Many at once, in order, and never more under way than fits."""

from __future__ import annotations

import threading
from contextlib import closing

from mobilenet_hub.pipeline import parallel
from mobilenet_hub.pipeline.parallel import ordered_map


def test_results_come_in_the_order_of_the_values_whoever_is_first():
    first = threading.Event()

    def slow_first(value):
        if value == 0:
            first.wait(20)
        if value == 3:
            first.set()
        return value * 10

    assert list(ordered_map(slow_first, range(9), threads=4)) == [0, 10, 20, 30, 40, 50, 60, 70, 80]


def test_no_more_bytes_are_under_way_than_the_limit_or_one_value(monkeypatch):
    monkeypatch.setattr(parallel, "CARRIED_BYTES", 100)
    taken, most = [0], [0]

    def values():
        for size in [60, 30, 500, 10, 70, 70, 1]:
            taken[0] += size
            most[0] = max(most[0], taken[0] - (size if size > 100 else 0))
            yield size

    with closing(ordered_map(lambda size: size, values(), threads=4, weigh=int)) as results:
        for size in results:
            taken[0] -= size
    assert taken[0] == 0
    assert most[0] <= 170  # the limit, and the value that went beyond it


def test_closing_takes_no_further_values():
    seen = []

    def values():
        for index in range(1000):
            seen.append(index)
            yield index

    results = ordered_map(lambda value: value, values(), threads=2)
    assert next(results) == 0
    results.close()
    assert len(seen) < 20
