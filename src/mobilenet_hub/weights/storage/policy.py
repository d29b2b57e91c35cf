"""How patient a download is: attempts, time-outs, and the waiting in between."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from urllib3.exceptions import InvalidHeader
from urllib3.util.retry import Retry

from mobilenet_hub.errors import DownloadError

TIMEOUT_VARIABLE = "MOBILENET_HUB_TIMEOUT"


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient a download is.

    Attributes:
        attempts: how often a dropped or refused request is tried again, the first included.
        connect_attempts: the same for servers that cannot be reached at all, so that a machine
            without a network finds out soon.
        backoff: seconds to wait, doubled for each further attempt, up to `max_backoff`, with some
            chance in it; the second attempt follows at once.
        connect_timeout, timeout: seconds to wait for a connection, and for bytes.
        max_bytes: the largest file that is accepted.
    """

    attempts: int = 5
    connect_attempts: int = 2
    backoff: float = 0.5
    max_backoff: float = 30.0
    connect_timeout: float = 5.0
    timeout: float = 30.0
    max_bytes: int = 1 << 30

    @staticmethod
    def from_environment() -> Policy:
        """The default, with the timeout of MOBILENET_HUB_TIMEOUT (seconds).

        Raises:
            DownloadError: the variable is not a positive number.
        """
        text = os.environ.get(TIMEOUT_VARIABLE)
        if not text:
            return Policy()
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            raise DownloadError(
                f"{TIMEOUT_VARIABLE} must be a positive number of seconds. Received: {text!r}"
            )
        return Policy(timeout=seconds, connect_timeout=min(5.0, seconds))

    def retries(self) -> Retry:
        """The count of attempts, and the waiting: urllib3's."""
        return _Retries(
            total=self.attempts - 1,
            connect=self.connect_attempts - 1,
            backoff_factor=self.backoff,
            backoff_max=self.max_backoff,
            backoff_jitter=self.backoff,  # so that not all come back at once
        )


class _Retries(Retry):
    """A server that says when to come back is heeded, within bounds."""

    def get_retry_after(self, response: Any) -> float | None:
        """Seconds; None for what is neither a number nor a date."""
        try:
            seconds = super().get_retry_after(response)
        except (InvalidHeader, ValueError, OverflowError):  # more digits than Python converts
            return None
        return None if seconds is None else min(seconds, self.backoff_max)
