"""What can go wrong around a run as a whole; a single image that fails is a `Failure` instead."""

from __future__ import annotations

from typing import Literal

from mobilenet_hub.errors import MobileNetHubError

Stage = Literal["list", "read", "decode"]


class SourceError(MobileNetHubError, ValueError):
    """A source of images that does not exist or cannot be understood."""


class DatasetError(MobileNetHubError, ValueError):
    """A dataset that cannot be continued or read: other settings, in use, or damaged."""


class ItemError(MobileNetHubError, ValueError):
    """One item that cannot be had; the pipeline turns it into a `Failure`.

    Attributes:
        stage: `list` (its folder or archive cannot be read) or `read` (its bytes cannot).
        reason: in words.
    """

    def __init__(self, stage: Stage, reason: str) -> None:
        self.stage = stage
        self.reason = reason
        super().__init__(f"cannot {stage}: {reason}")

    def __reduce__(self) -> tuple[type[ItemError], tuple[Stage, str]]:
        """Pickle by parts, so that the error crosses process boundaries whole."""
        return (type(self), (self.stage, self.reason))
