"""How a run is getting on: for people on a terminal, for programs as JSON lines."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, TextIO

from mobilenet_hub.pipeline.results import Counts

if TYPE_CHECKING:
    from rich.progress import TaskID

ProgressKind = Literal["auto", "bar", "json", "none"]
JSON_PERIOD_SECONDS = 1.0


class Progress(Protocol):
    """Something that shows counts."""

    def update(self, counts: Counts) -> None:
        """Show the counts as they are now."""

    def step(self, what: str, done: int, total: int) -> None:
        """Show how far something else is that takes long: `step("folds", 2, 5)`."""

    def close(self) -> None:
        """The run has ended, well or not: show the last counts."""


def make_progress(
    kind: ProgressKind, count: Callable[[], int | None] | None = None, stream: TextIO | None = None
) -> Progress:
    """A way of showing progress.

    Args:
        kind: `bar`; `json`: one line a second; `none`; `auto`: a bar on a terminal, else nothing.
        count: how many items there are, if that can be known; runs in a thread of its own. None
            where a run has steps only.
        stream: where to; standard error by default.
    """
    stream = stream or sys.stderr
    if kind == "json":
        return _JsonLines(_Total(count), stream)
    if kind == "bar" or (kind == "auto" and stream.isatty()):
        return _Bar(_Total(count), stream)
    return NO_PROGRESS


class _Total:
    """Counts the items while the run is already under way, if there are any."""

    def __init__(self, count: Callable[[], int | None] | None) -> None:
        self.value: int | None = None
        self.of_images = count is not None
        if count is not None:
            threading.Thread(
                target=self._run, args=[count], daemon=True, name="mobilenet-hub-count"
            ).start()

    def _run(self, count: Callable[[], int | None]) -> None:
        try:
            self.value = count()
        except Exception:
            self.value = None  # a total is a courtesy; what is wrong, the run itself will say


class _Nothing:
    def update(self, counts: Counts) -> None:
        """Nothing."""

    def step(self, what: str, done: int, total: int) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


NO_PROGRESS: Progress = _Nothing()


class _JsonLines:
    """One object a line: `Counts`, and total, images_per_second, eta_seconds, seconds.

    Of anything else: step, done, total, seconds.
    """

    def __init__(self, total: _Total, stream: TextIO) -> None:
        self._total = total
        self._stream = stream
        self._start = self._last = time.monotonic()
        self._counts = Counts()

    def update(self, counts: Counts) -> None:
        """Print a line if it is time."""
        self._counts = counts
        if time.monotonic() - self._last >= JSON_PERIOD_SECONDS:
            self._print(counts)

    def step(self, what: str, done: int, total: int) -> None:
        """Print a line if it is time, or something has ended."""
        now = time.monotonic()
        if done >= total or now - self._last >= JSON_PERIOD_SECONDS:
            self._last = now
            line = {"step": what, "done": done, "total": total}
            self._write({**line, "seconds": round(now - self._start, 3)})

    def close(self) -> None:
        """Print the last line."""
        if self._total.of_images:
            self._print(self._counts)

    def _print(self, counts: Counts) -> None:
        self._last = time.monotonic()
        seconds = self._last - self._start
        line: dict[str, Any] = {
            "done": counts.done,
            "failed": counts.failed,
            "skipped": counts.skipped,
            "total": self._total.value,
            "images_per_second": round((counts.done + counts.failed) / max(seconds, 1e-9), 1),
            "eta_seconds": _eta(counts, self._total.value, seconds),
            "seconds": round(seconds, 3),
        }
        self._write(line)

    def _write(self, line: Mapping[str, Any]) -> None:
        print(json.dumps(line), file=self._stream, flush=True)


def _eta(counts: Counts, total: int | None, seconds: float) -> float | None:
    """Seconds to go, if the rest takes as long as what was computed so far."""
    worked = counts.done + counts.failed
    if total is None or worked == 0:
        return None
    return round(max(0, total - counts.items) * seconds / worked, 1)


class _Bar:
    """A line that redraws itself (rich), and one more for each step."""

    def __init__(self, total: _Total, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._total = total
        self._start = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("[green]{task.fields[rate]}"),
            TextColumn("[red]{task.fields[errors]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(file=stream),
        )
        self._steps: dict[str, TaskID] = {}
        if total.of_images:
            self._steps["images"] = self._bar.add_task(
                "images", total=None, rate="- images/s", errors=""
            )
        self._bar.start()

    def update(self, counts: Counts) -> None:
        """Redraw (rich limits how often)."""
        seconds = time.monotonic() - self._start
        worked = counts.done + counts.failed
        self._bar.update(
            self._steps["images"],
            total=self._total.value,
            completed=counts.items,
            rate=f"{worked / max(seconds, 1e-9):.0f} images/s",
            errors=f"{counts.failed} failed" if counts.failed else "",
        )

    def step(self, what: str, done: int, total: int) -> None:
        """Redraw."""
        if what not in self._steps:
            self._steps[what] = self._bar.add_task(what, total=total, rate="", errors="")
        self._bar.update(self._steps[what], completed=done, total=total)

    def close(self) -> None:
        """Leave the last state on the screen."""
        self._bar.stop()
