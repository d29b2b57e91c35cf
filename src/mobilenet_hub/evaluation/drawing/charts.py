"""Drawings for the report, as SVG that takes its colours from the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mobilenet_hub.evaluation.calibration import Reliability
from mobilenet_hub.evaluation.records import Curve

if TYPE_CHECKING:
    from markupsafe import Markup

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 16, 12, 44
_TINY = 1e-300
_PERCENT = "{:.0%}".format
_STYLES = ("first", "second", "third", "fourth")  # of lines, in page.css


@dataclass(frozen=True, slots=True)
class Axis:
    """Values to places on one side of a drawing.

    Attributes:
        low, high: the values at its ends.
        start, end: their places, in pixels.
        ticks: values that are marked.
        word: how a tick is written.
        logarithmic: whether equal steps are equal factors.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    word: Callable[[float], str] = "{:g}".format
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value."""
        low, high, at = self.low, self.high, value
        if self.logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(value)
        return round(self.start + (at - low) / ((high - low) or 1) * (self.end - self.start), 1)


def line_chart(curve: Curve, *, shares: bool = False) -> Markup:
    """Lines over one axis, told apart by dashes too; `shares` are written in per cent."""
    values = [value for line in curve.lines.values() for value in line if math.isfinite(value)]
    marked = curve.x if curve.chosen is None else (*curve.x, curve.chosen)
    x = _axis(marked, _LEFT, _WIDTH - _RIGHT, logarithmic=curve.logarithmic)
    y = _axis(values, _HEIGHT - _BOTTOM, _TOP)
    if shares:
        x, y = (replace(axis, word=_percent_word(axis.ticks)) for axis in (x, y))
    parts = [_frame(x, y, curve.x_label, curve.y_label)]
    if curve.chosen is not None:
        at = x(curve.chosen)
        parts.append(_svg('<line class=chosen x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>')
                     .format(at, _TOP, _HEIGHT - _BOTTOM))  # fmt: skip
    for style, line in zip(_cycle(len(curve.lines)), curve.lines.values(), strict=True):
        points = [(x(at), y(value)) for at, value in zip(curve.x, line, strict=True)
                  if math.isfinite(value)]  # fmt: skip
        parts.append(_polyline(points, style))
    return _drawing(parts, curve.title)


def legend(names: Sequence[str]) -> list[tuple[str, str]]:
    """The style of each line, and its name."""
    return list(zip(_cycle(len(names)), names, strict=True))


def reliability_chart(reliability: Reliability, title: str) -> Markup:
    """Accuracy by confidence: bars that should end on the diagonal; opacity tells how many."""
    x, y = _share_axis(_LEFT, _WIDTH - _RIGHT), _share_axis(_HEIGHT - _BOTTOM, _TOP)
    most = max((each.count for each in reliability.bins), default=0)
    parts = [_frame(x, y, "probability that was given", "share that is right")]
    for each in reliability.bins:
        if not each.count:
            continue
        left, right, top = x(each.low) + 1, x(each.high) - 1, y(each.accuracy)
        words = f"{each.count:,} predictions of {each.confidence:.0%} on average: " \
                f"{each.accuracy:.0%} right"  # fmt: skip
        parts.append(
            _svg('<rect class=bin x="{}" y="{}" width="{}" height="{}" opacity="{}">'
                 "<title>{}</title></rect>"
                 '<line class=said x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                left, top, round(right - left, 1), round(y(0) - top, 1),
                round(0.35 + 0.65 * math.sqrt(each.count / most), 2), words,
                left, right, y(each.confidence), y(each.confidence),
            )
        )  # fmt: skip
    parts.append(_polyline([(x(0), y(0)), (x(1), y(1))], "diagonal"))
    return _drawing(parts, title)


def interval_chart(value: float, low: float, high: float, title: str) -> Markup:
    """A share and its interval on a bar from 0 to 1."""
    x = _share_axis(0, 400)
    return _svg(
        '<svg class=interval viewBox="0 0 400 14" role=img><title>{}</title>'
        '<rect class=all width=400 y=5 height=4 rx=2 /><rect class=range x="{}" width="{}" y=3 '
        'height=8 rx=2 /><rect class=value x="{}" width=4 height=14 rx=2 /></svg>'
    ).format(title, x(low), round(x(high) - x(low), 1), x(value) - 2)


def _axis(values: Sequence[float], start: float, end: float, *, logarithmic: bool = False) -> Axis:
    low, high = min(values, default=0.0), max(values, default=1.0)
    if logarithmic:
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        step = -(-len(exponents) // 7)
        ticks = tuple(10.0**power for power in exponents[::step])
        return Axis(min(low, ticks[0]), max(high, ticks[-1]), start, end, ticks, logarithmic=True)
    size, largest = high - low, max(abs(low), abs(high))
    if size <= 1e-9 * largest or size < _TINY:  # all the same, as far as a drawing can tell
        size = largest if largest > _TINY else 1.0
    power = 10.0 ** math.floor(math.log10(size / 5))
    step_size = next(power * factor for factor in (1, 2, 5, 10) if size / (power * factor) <= 6)
    first, last = math.floor(low / step_size + 1e-9), math.ceil(high / step_size - 1e-9)
    ticks = tuple(round(index * step_size, 12) for index in range(first, max(last, first + 1) + 1))
    return Axis(ticks[0], ticks[-1], start, end, ticks)


def _share_axis(start: float, end: float) -> Axis:
    return Axis(0, 1, start, end, (0, 0.25, 0.5, 0.75, 1), _PERCENT)


def _percent_word(ticks: Sequence[float]) -> Callable[[float], str]:
    """Per cent, with as few decimals as tell the ticks apart."""
    words = (f"{{:.{decimals}%}}".format for decimals in range(4))
    return next((word for word in words if len({*map(word, ticks)}) == len(ticks)), "{:.4%}".format)


def _frame(x: Axis, y: Axis, x_label: str, y_label: str) -> Markup:
    bottom = _HEIGHT - _BOTTOM
    parts = [
        _svg('<line class=grid x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>'
             '<text class=tick x="{3}" y="{4}" text-anchor=end>{5}</text>').format(
            _LEFT, _WIDTH - _RIGHT, y(tick), _LEFT - 6, y(tick) + 4, y.word(tick))
        for tick in y.ticks
    ]  # fmt: skip
    parts += [
        _svg('<text class=tick x="{}" y="{}" text-anchor=middle>{}</text>').format(
            x(tick), bottom + 16, x.word(tick))
        for tick in x.ticks
    ]  # fmt: skip
    parts.append(
        _svg('<line class=base x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>'
             '<text class=label x="{3}" y="{4}" text-anchor=middle>{5}</text>'
             '<text class=label transform="translate(12 {6}) rotate(-90)" text-anchor=middle>{7}'
             "</text>").format(
            _LEFT, _WIDTH - _RIGHT, bottom, (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, x_label,
            (_TOP + bottom) / 2, y_label,
        )
    )  # fmt: skip
    return _joined(parts)


def _polyline(points: Sequence[tuple[float, float]], style: str) -> Markup:
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    dots = [
        _svg('<circle class="{}" cx="{:g}" cy="{:g}" r=3 />').format(style, x, y)
        for x, y in points
        if style != "diagonal" and len(points) <= 30
    ]
    return _joined([_svg('<polyline class="{}" points="{}"/>').format(style, path), *dots])


def _drawing(parts: Sequence[Markup], title: str) -> Markup:
    return _svg('<svg class=chart viewBox="0 0 {} {}" role=img aria-label="{}">{}</svg>').format(
        _WIDTH, _HEIGHT, title, _joined(parts)
    )


def _cycle(count: int) -> list[str]:
    return [_STYLES[index % len(_STYLES)] for index in range(count)]


def _joined(parts: Sequence[Markup]) -> Markup:
    return _svg("\n").join(parts)


def _svg(text: str) -> Markup:
    """Text of ours; what `format` puts into it is escaped."""
    from markupsafe import Markup

    return Markup(text)
