"""A share of photos with the interval that the true one lies in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

_Z = 1.959963984540054  # of the normal distribution: 95 % lie within so many standard deviations
DECIMALS = 6  # of figures in files


@dataclass(frozen=True, slots=True)
class Proportion:
    """A share of photos, and Wilson's 95 % interval for the share among all such photos.

    Unlike the normal approximation it stays within [0, 1] and means something for few photos and
    for shares of 0 and 1 (Wilson, "Probable inference", 1927; Brown, Cai and DasGupta, "Interval
    estimation for a binomial proportion", 2001).

    ```python
    Proportion.of(143, 153)  # 93.5 %, 88.4 % to 96.4 %
    ```

    Attributes:
        value: the share, in [0, 1].
        low, high: the interval.
        photos: of how many.
    """

    value: float
    low: float
    high: float
    photos: int

    @classmethod
    def of(cls, count: float, photos: int, *, repeats: int = 1) -> Proportion:
        """The share of `count` in `photos`; of none it is 0, anywhere from 0 to 1.

        Args:
            count: of those that are meant.
            photos: of all.
            repeats: how often each photo is counted in both; the interval counts it once.
        """
        if photos == 0:
            return cls(0.0, 0.0, 1.0, 0)
        share, once = count / photos, photos / repeats
        centre = share + _Z**2 / (2 * once)
        spread = _Z * math.sqrt(share * (1 - share) / once + _Z**2 / (4 * once**2))
        low, high = ((centre + sign * spread) / (1 + _Z**2 / once) for sign in (-1, 1))
        return cls(share, max(low, 0.0), min(high, 1.0), round(once))

    def to_dict(self) -> dict[str, Any]:
        """The fields as they go into JSON."""
        return rounded_dict(asdict(self))

    def __str__(self) -> str:
        """In per cent: `93.5 % (88.4 to 96.4)`."""
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%})".replace("%", " %")


def rounded_dict(values: Mapping[str, Any]) -> dict[str, Any]:
    """Figures as they go into JSON: floats to `DECIMALS`, however deep they lie."""
    return {name: _rounded(value) for name, value in values.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DECIMALS)
    if isinstance(value, Mapping):
        return rounded_dict(value)
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value
