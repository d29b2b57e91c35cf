"""Values of options that are more than words and numbers: how they are read, what is refused."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import typer

from mobilenet_hub.settings import EngineName, Precision
from mobilenet_hub.web.patience import TIMEOUT_VARIABLE

if TYPE_CHECKING:
    from mobilenet_hub.inference import InferenceModule
    from mobilenet_hub.pipeline.sources.source import Source


_in_use: list[InferenceModule] = []  # until the process ends: to take one apart takes 0.02 s


class Size(NamedTuple):
    """Of images, in pixels."""

    height: int
    width: int


class Shard(NamedTuple):
    """Which share of a job is done here, counted from 0, and how many there are."""

    share: int
    shares: int


def computed_by(
    module: str, engine: EngineName, precision: Precision | Literal["auto"]
) -> InferenceModule:
    """A module in inference, as the options of a command say."""
    from mobilenet_hub.inference import InferenceModule

    chosen = None if precision == "auto" else precision
    made = InferenceModule(module, engine=engine, precision=chosen)
    _in_use.append(made)
    return made


def opened(words: Sequence[str], *options: Any) -> Source:
    """What the words of a command line name, read as its options say, in `SourceOptions`' order."""
    from mobilenet_hub.pipeline.sources.resolve import open_words
    from mobilenet_hub.pipeline.sources.source import SourceOptions

    return open_words(words, SourceOptions(*options))


def parse_size(text: str) -> Size:
    """`128` or `97x131` (height x width).

    Raises:
        typer.BadParameter: anything else.
    """
    match = re.fullmatch(r"([0-9]{1,9})(?:x([0-9]{1,9}))?", text.lower())
    size = match and Size(int(match[1]), int(match[2] or match[1]))
    if not size or 0 in size:
        raise typer.BadParameter(f"size must be like 128 or 97x131 pixels. Received: {text!r}")
    return size


def parse_shard(text: str) -> Shard:
    """`3/8`: the fourth of eight shares.

    Raises:
        typer.BadParameter: anything else.
    """
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    shard = match and Shard(int(match[1]), int(match[2]))
    if not shard or shard.share >= shard.shares:
        raise typer.BadParameter(f"shard must be I/N with I from 0 to N-1. Received: {text!r}")
    return shard


def set_timeout(seconds: float | None) -> float | None:
    """Hand the setting to whatever reads from a network, in this process and in its workers."""
    if seconds is not None:
        os.environ[TIMEOUT_VARIABLE] = str(seconds)
    return seconds
