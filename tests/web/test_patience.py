"""Waiting for networks: as long as was said, and not a moment longer than somebody waits."""

from __future__ import annotations

import threading
import time

import pytest

import http_server as web
from mobilenet_hub.errors import InputError, NetworkError
from mobilenet_hub.web.http_file import HttpFile
from mobilenet_hub.web.patience import Patience, Waits, timeout_seconds


def test_the_timeout_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv("MOBILENET_HUB_TIMEOUT", raising=False)
    assert timeout_seconds() == 30
    monkeypatch.setenv("MOBILENET_HUB_TIMEOUT", "2.5")
    assert timeout_seconds() == 2.5
    for text in ("soon", "0", "-1", "inf", "nan"):
        monkeypatch.setenv("MOBILENET_HUB_TIMEOUT", text)
        with pytest.raises(InputError, match=f"positive number of seconds. Received: '{text}'"):
            timeout_seconds()


def test_what_cannot_get_better_is_not_tried_again():
    error = NetworkError("gone", transient=False)
    with pytest.raises(NetworkError, match="gone"):
        Patience().after(error)


def test_nothing_is_tried_after_its_time(monkeypatch):
    monkeypatch.setenv("MOBILENET_HUB_TIMEOUT", "1")
    with pytest.raises(NetworkError, match="busy"):
        Patience(timeouts=1).after(NetworkError("busy", retry_after=20))


@pytest.mark.parametrize("answer", ["silence", "stall", "retry"])
def test_all_that_the_threads_of_a_run_wait_for_ends_at_once(answer):
    """Before the first byte, in the middle of a body, and between two attempts."""
    never, errors = threading.Event(), []
    with web.serving() as server:
        url = server.on("/x", {
            "silence": web.silence(never), "stall": web.stall(bytes(1000), 10, never),
            "retry": web.status(503, {"Retry-After": "25"}),
        }[answer])  # fmt: skip
        waits = Waits()

        def read():
            waits.adopt_thread()
            try:
                with HttpFile(url) as file:
                    file.readall()
            except NetworkError as error:
                errors.append(error)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        while not server.asked("/x"):
            time.sleep(0.01)
        waits.end()
        thread.join(20)
        assert not thread.is_alive()
        assert errors
        never.set()
