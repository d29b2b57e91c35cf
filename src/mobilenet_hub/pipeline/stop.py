"""Ending a run early without losing what it did."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any, TypeVar

_T = TypeVar("_T")


class Stop(AbstractContextManager["Stop"]):
    """While entered, the first SIGINT or SIGTERM ends the work; a second has its usual effect.

    The signal ends waiting for the next result at once, and never disturbs the writing of one. In
    other threads than the main one, where signals cannot be handled, it does nothing.

    Attributes:
        requested: whether such a signal came.
    """

    def __init__(self) -> None:
        self.requested = False
        self._waiting = False
        self._before: dict[int, Any] = {}

    def waiting_for(self, values: Iterator[_T]) -> _T | None:
        """The next value; None when there is none, or when the signal came first."""
        try:
            self._waiting = True
            return None if self.requested else next(values, None)
        except KeyboardInterrupt:
            if not self.requested:  # raised by something else than our handler
                raise
            return None
        finally:
            self._waiting = False

    def __enter__(self) -> Stop:
        """Take over the signals."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: Any) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self.__exit__()
        if self._waiting:
            raise KeyboardInterrupt
