"""Workers are kept as long as their module."""

from __future__ import annotations

import numpy as np
import pytest

import mobilenet_hub as hub
from mobilenet_hub.pipeline import embed, sessions
from pictures import SIZE, SMALL, encoded


def test_many_small_calls_compile_once(module, monkeypatch):
    values = [("x", encoded(1))]
    (first,) = embed(values, module, size=SIZE)

    def never(*arguments, **options):
        raise AssertionError("compiled again")

    monkeypatch.setattr(sessions, "graph_of", never)
    (second,) = embed(values, module, size=SIZE)
    np.testing.assert_array_equal(first.embedding, second.embedding)
    with pytest.raises(AssertionError, match="compiled again"):
        embed(values, hub.Module(SMALL), size=SIZE)
