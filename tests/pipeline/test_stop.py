"""A signal ends waiting at once, and never disturbs what is being written."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from mobilenet_hub.pipeline.stop import Stop


def interrupt(number=signal.SIGINT):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_waiting_for_the_next_value_ends_at_the_first_signal(number):
    def values():
        yield 1
        interrupt(number)
        yield 2

    before = signal.getsignal(number)
    with Stop() as stop:
        stream = values()
        assert stop.waiting_for(stream) == 1
        assert stop.waiting_for(stream) is None
        assert stop.requested
        assert stop.waiting_for(iter([3])) is None
    assert signal.getsignal(number) is before


def test_what_is_not_waiting_is_not_disturbed_and_a_second_signal_is_as_ever():
    with Stop() as stop:
        interrupt()
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            interrupt()


def test_an_interrupt_of_somebody_else_is_not_taken_for_a_signal():
    def values():
        raise KeyboardInterrupt
        yield

    with Stop() as stop, pytest.raises(KeyboardInterrupt):
        stop.waiting_for(values())
    assert not stop.requested


def test_in_another_thread_signals_are_left_alone():
    found = []

    def work():
        before = signal.getsignal(signal.SIGINT)
        with Stop() as stop:
            found.append((stop.waiting_for(iter([1])), signal.getsignal(signal.SIGINT) is before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(1, True)]
