"""Workers are kept as long as their module."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import mobilenet_hub as hub
from mobilenet_hub.errors import EngineError
from mobilenet_hub.pipeline import embed, sessions
from mobilenet_hub.pipeline.sessions import Workers
from mobilenet_hub.runtime import GraphSpec
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


def test_pixels_are_put_into_a_worker_while_its_session_is_made():
    filled = threading.Event()

    def make_session():
        filled.wait()  # for ever, if whoever fills the pixels waits for the session
        raise EngineError("no engine")

    workers = Workers(make_session, GraphSpec("uint8", 4, 4), 1, 1)
    with workers.one() as worker:
        worker.pixels[0] = 7
        filled.set()
        with pytest.raises(EngineError, match="no engine"):
            worker.outputs(1)
