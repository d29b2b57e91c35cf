"""A source: items as often as they are asked for, and what a pass left out."""

from __future__ import annotations

from collections import Counter

import pytest

from mobilenet_hub.pipeline.sources.items import FileItem
from mobilenet_hub.pipeline.sources.source import Source, SourceOptions, is_wanted, single


def test_what_was_passed_over_is_that_of_the_last_pass():
    def start(passed_over):
        for name in ("a.jpg", "b.heic", "c.HEIC", "README", ".hidden"):
            if is_wanted(name, SourceOptions(), passed_over):
                yield FileItem(name)

    source = Source(start)
    for _ in range(2):
        assert [item.id for item in source.items()] == ["a.jpg"]
        assert source.passed_over == {".heic": 2, "": 1}
    counted = sum(1 for _ in source.start(Counter()))
    assert (counted, source.passed_over[".heic"]) == (1, 2)  # counting is no pass


@pytest.mark.parametrize("name", ["folder.d/a", "a", "x.txt", ".hidden"])
def test_all_files_are_every_file(name):
    passed_over = Counter()
    assert is_wanted(name, SourceOptions(all_files=True), passed_over)
    assert not is_wanted(name, SourceOptions(), passed_over)


def test_a_single_item_is_a_source_of_one():
    source = single(FileItem("a.jpg"))
    assert [*source.items()] == [*source.items()] == [FileItem("a.jpg")]
    assert (source.count(), source.distinct) == (1, True)
