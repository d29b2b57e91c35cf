"""A file on a network: fetched whole, or an error that says why."""

from __future__ import annotations

import pytest

from mobilenet_hub.errors import ItemError, SourceError
from mobilenet_hub.pipeline.sources import remote_item
from mobilenet_hub.pipeline.sources.resolve import open_words
from mobilenet_hub.web import patience
from source_support import LIMIT


def test_an_unknown_protocol_is_refused():
    pytest.importorskip("fsspec")
    with pytest.raises(SourceError, match="Received: 'nonsense://bucket'"):
        open_words(["nonsense://bucket"])


def test_a_flaky_network_is_tried_again(monkeypatch):
    pytest.importorskip("fsspec")
    monkeypatch.setattr(patience, "_BACKOFF_SECONDS", 0.001)
    memory, _ = remote_item.filesystem("memory://flaky.jpg")
    memory.pipe("/flaky.jpg", b"pixels")
    calls = []

    def cat_file(path, **options):
        calls.append(path)
        if len(calls) < 3:
            raise TimeoutError("no answer")
        return b"pixels"

    monkeypatch.setattr(memory, "cat_file", cat_file, raising=False)
    item = remote_item.url_item("memory://flaky.jpg")
    assert item.read(LIMIT)[0] == b"pixels"
    calls[:] = []
    monkeypatch.setattr(patience, "_ATTEMPTS", 2)
    with pytest.raises(ItemError, match="TimeoutError: no answer"):
        item.read(LIMIT)
    memory.rm("/flaky.jpg")
