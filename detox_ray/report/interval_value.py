"""A number with its interval, for figures and tables."""

from typing import NamedTuple


class IntervalValue(NamedTuple):
    """A value with its interval."""

    value: float
    low: float | None
    high: float | None

    @property
    def ends(self) -> tuple[float, float]:
        """Return the ends of the interval, or the value twice if there is none."""
        return (self.value if self.low is None else self.low, self.value if self.high is None else self.high)
