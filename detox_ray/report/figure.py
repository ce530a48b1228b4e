"""Where things stand in the figure: one row per language and the macro mean, before and after with intervals.

Only geometry is decided here; ``figure.html`` draws it. Rows are sorted by relative reduction, the macro mean first,
languages without a value last (they keep their row, with the reason).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

WIDTH = 660
LEFT, RIGHT = 112, 84  # room for names and for the change
TOP, ROW, BOTTOM = 34, 25, 46


class Reading(NamedTuple):
    """A value with its interval."""

    value: float
    low: float | None
    high: float | None


class FigureRow(NamedTuple):
    """What one row shows. ``before`` or ``after`` is None where there is no value; then ``reason`` says why."""

    name: str
    before: Reading | None
    after: Reading | None
    reason: str = ""


class Mark(NamedTuple):
    """A dot with its whisker, in the figure's units."""

    x: float
    low: float | None
    high: float | None


class PlacedRow(NamedTuple):
    name: str
    y: float
    before: Mark | None
    after: Mark | None
    change: str  # "−62 %"
    reason: str  # why there is no value
    spoken: str  # the row in words


class Tick(NamedTuple):
    x: float
    label: str


class Figure(NamedTuple):
    width: float
    height: float
    left: float
    right: float  # where the plot ends
    top: float
    bottom: float
    rule_y: float  # the line under the macro row
    rows: list[PlacedRow]
    ticks: list[Tick]


def place(macro: FigureRow, languages: Sequence[FigureRow]) -> Figure:
    """The figure's geometry."""
    ordered = [macro, *sorted(languages, key=_reduction)]
    readings = [r for row in ordered for r in (row.before, row.after) if r is not None]
    highest = max([r.high if r.high is not None else r.value for r in readings], default=1.0)
    step = _step(highest or 1.0)
    end = step * max(1, math.ceil((highest or 1.0) / step - 1e-9))
    span = WIDTH - LEFT - RIGHT

    def x(value: float) -> float:
        return round(LEFT + span * value / end, 2)

    def mark(reading: Reading | None) -> Mark | None:
        if reading is None:
            return None
        low, high = (None if bound is None else x(bound) for bound in (reading.low, reading.high))
        return Mark(x(reading.value), low, high)

    rows = [
        PlacedRow(
            row.name,
            TOP + ROW * (i + 0.5) + (6 if i else 0),
            mark(row.before),
            mark(row.after),
            change(row.before, row.after),
            row.reason,
            _spoken(row),
        )
        for i, row in enumerate(ordered)
    ]
    bottom = TOP + ROW * len(ordered) + 6
    count = round(end / step)
    decimals = max(0, -math.floor(math.log10(step)))
    ticks = [Tick(x(i * step), f"{i * step:.{decimals}f}") for i in range(count + 1)]
    return Figure(WIDTH, bottom + BOTTOM, LEFT, WIDTH - RIGHT, TOP, bottom, TOP + ROW + 3, rows, ticks)


def change(before: Reading | None, after: Reading | None) -> str:
    """Relative change in words: "−62 %"."""
    if before is None or after is None or before.value == 0:
        return "–"
    return signed_percent((after.value - before.value) / before.value)


def signed_percent(share: float) -> str:
    """0.25 -> "+25 %", with a real minus sign."""
    rounded = round(100 * share)
    return f"{'+' if rounded > 0 else '−' if rounded < 0 else '±'}{abs(rounded)}\u00a0%"


def _reduction(row: FigureRow) -> tuple[int, float, str]:
    if row.before is None or row.after is None:
        return (2, 0.0, row.name)
    if row.before.value == 0:
        return (1, row.after.value, row.name)
    return (0, row.after.value / row.before.value, row.name)


def _spoken(row: FigureRow) -> str:
    if row.before is None or row.after is None:
        return f"{row.name}: {row.reason}"

    def say(reading: Reading) -> str:
        interval = "" if reading.low is None else f" ({reading.low:.3f} to {reading.high:.3f})"
        return f"{reading.value:.3f}{interval}"

    return f"{row.name}: before {say(row.before)}, after {say(row.after)}, {change(row.before, row.after)}"


def _step(highest: float) -> float:
    """A step of 1, 2 or 5 times a power of ten that gives at most six steps."""
    rough = highest / 6
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
