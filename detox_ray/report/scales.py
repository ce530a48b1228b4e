"""Axes: values with their intervals, and where they stand on a drawing."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from detox_ray.report.labels import number


class Reading(NamedTuple):
    """A value with its interval."""

    value: float
    low: float | None
    high: float | None

    @property
    def ends(self) -> tuple[float, float]:
        """The interval, or the value twice where there is none."""
        return (self.value if self.low is None else self.low, self.value if self.high is None else self.high)


class Tick(NamedTuple):
    at: float
    label: str


class Scale(NamedTuple):
    """Values from ``start`` to ``end`` on positions from ``first`` to ``last``."""

    start: float
    end: float
    first: float
    last: float
    ticks: list[Tick]

    def at(self, value: float) -> float:
        return round(self.first + (self.last - self.first) * (value - self.start) / (self.end - self.start), 2)


def scale(values: Iterable[float], first: float, last: float, most: int = 6) -> Scale:
    """Round numbers around all values, in about ``most`` steps of 1, 2 or 5 times a power of ten."""
    kept = list(values)
    low, high = min(kept, default=0.0), max(kept, default=1.0)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        high = low + (abs(low) / 10 or 1.0)
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    begin, finish = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    empty = Scale(begin * step, finish * step, first, last, [])
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = [Tick(empty.at(i * step), number(i * step, decimals)) for i in range(begin, finish + 1)]
    return empty._replace(ticks=ticks)
