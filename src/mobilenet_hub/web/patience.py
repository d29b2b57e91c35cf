"""How long networks are waited for, how often they are asked again, and how waiting ends."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakSet

from mobilenet_hub.errors import InputError, NetworkError

TIMEOUT_VARIABLE = "MOBILENET_HUB_TIMEOUT"
TIMEOUT_SECONDS = 30.0

_ATTEMPTS = 4
_BACKOFF_SECONDS, _MAX_BACKOFF_SECONDS = 0.5, 30.0


def timeout_seconds() -> float:
    """How long to wait for a byte: MOBILENET_HUB_TIMEOUT, by default 30 seconds.

    Raises:
        InputError: the variable is not a positive number.
    """
    text = os.environ.get(TIMEOUT_VARIABLE)
    if not text:
        return TIMEOUT_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InputError(
            f"{TIMEOUT_VARIABLE} must be a positive number of seconds. Received: {text!r}"
        )
    return seconds


class Waits:
    """What the threads of one run wait for on a network, so that all can be ended at once.

    Attributes:
        ended: set once nobody wants the results any more.
    """

    def __init__(self) -> None:
        self.ended = threading.Event()
        self._lock = threading.Lock()
        self._connections: WeakSet[Any] = WeakSet()
        self._cancels: set[Callable[[], object]] = set()

    def adopt_thread(self) -> None:
        """From now on this thread's waits are of this run."""
        _thread.waits = self

    def end(self) -> None:
        """End all waits, those to come included: they fail at once."""
        with self._lock:
            self.ended.set()
            connections, cancels = list(self._connections), list(self._cancels)
        for connection in connections:
            _shut(connection)
        for cancel in cancels:
            cancel()

    def add_connection(self, connection: Any) -> None:
        """Remember an open connection."""
        with self._lock:
            self._connections.add(connection)
            ended = self.ended.is_set()
        if ended:
            _shut(connection)

    @contextlib.contextmanager
    def until(self, cancel: Callable[[], object]) -> Iterator[None]:
        """While entered, `end` calls `cancel`."""
        with self._lock:
            self._cancels.add(cancel)
            ended = self.ended.is_set()
        if ended:
            cancel()
        try:
            yield
        finally:
            with self._lock:
                self._cancels.discard(cancel)


_thread = threading.local()
_everybody = Waits()  # of threads that belong to no run


def current_waits() -> Waits:
    """Of the run that this thread works for."""
    waits: Waits = getattr(_thread, "waits", _everybody)
    return waits


def _shut(connection: Any) -> None:
    if (sock := getattr(connection, "sock", None)) is not None:
        with contextlib.suppress(OSError):  # not connected any more
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


class Patience:
    """How often a thing is tried again, and when.

    Args:
        timeouts: after how many of them, as `timeout_seconds`, it is not; None for any number.
    """

    def __init__(self, timeouts: int | None = None) -> None:
        self.deadline = timeouts and time.monotonic() + timeouts * timeout_seconds()
        self._failures = 0

    def renew(self) -> None:
        """Something worked: failures are counted anew."""
        self._failures = 0

    def after(self, error: NetworkError) -> None:
        """Wait until the next attempt; raises the error if there is to be none."""
        self._failures += 1
        longest = min(_BACKOFF_SECONDS * 2.0 ** (self._failures - 1), _MAX_BACKOFF_SECONDS)
        seconds = longest * random.uniform(0.5, 1.0)  # so that not all come back at once
        if error.retry_after is not None:
            seconds = min(error.retry_after, _MAX_BACKOFF_SECONDS)
        late = self.deadline is not None and time.monotonic() + seconds > self.deadline
        if not error.transient or self._failures >= _ATTEMPTS or late:
            raise error
        if current_waits().ended.wait(seconds):
            raise NetworkError("ended before there was an answer") from error
