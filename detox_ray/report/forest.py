"""Where things stand in the forest plots, one row per language (or pair of models), values with intervals.

Only geometry is decided here; ``figure.html`` draws it on the page and ``figure_files.py`` in files. Rows are sorted by
relative reduction, the macro mean first, languages without a value last (they keep their row, with the reason).
"""

from collections.abc import Sequence
from typing import NamedTuple

from detox_ray.report.labels import number, signed_percent
from detox_ray.report.scales import Reading, Scale, Tick, scale

WIDTH = 660
LEFT, RIGHT = 112, 92  # room for names and for the change
TOP, ROW, BOTTOM = 34, 25, 46

SIGNIFICANT = "*"  # a mark that needs no colour
LEFT_OUT = "†"


class ForestRow(NamedTuple):
    """What one row shows: two values, or only ``after`` (a difference), or the ``reason`` why there is none."""

    name: str
    before: Reading | None
    after: Reading | None
    reason: str = ""
    significant: bool = False  # after correction
    in_macro: bool = True


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
    change: str  # "−62 % *"
    reason: str  # why there is no value
    spoken: str  # the row in words


class Forest(NamedTuple):
    width: float
    height: float
    left: float
    right: float  # where the plot ends
    top: float
    bottom: float
    rule_y: float | None  # the line under the macro row
    zero: float | None  # the line of no difference
    rows: list[PlacedRow]
    ticks: list[Tick]


def ordered(macro: ForestRow, languages: Sequence[ForestRow]) -> list[ForestRow]:
    return [macro, *sorted(languages, key=_reduction)]


def place(rows: Sequence[ForestRow]) -> Forest:
    """The geometry of rows in order, the macro mean first, each before and after."""
    return _place(rows, LEFT, macro_first=True)


def place_differences(rows: Sequence[ForestRow]) -> Forest:
    """The geometry of rows of one difference each, around zero."""
    longest = max((len(row.name) for row in rows), default=0)
    return _place(rows, min(280, max(LEFT, 20 + 7 * longest)), macro_first=False)


def _place(rows: Sequence[ForestRow], left: float, macro_first: bool) -> Forest:
    ends = [end for row in rows for r in (row.before, row.after) if r is not None for end in r.ends]
    axis = scale([0.0, *ends], left, WIDTH - RIGHT)
    placed = [
        PlacedRow(
            marked_name(row),
            TOP + ROW * (i + 0.5) + (6 if macro_first and i else 0),
            _mark(row.before, axis),
            _mark(row.after, axis),
            marked_change(row),
            row.reason,
            _spoken(row),
        )
        for i, row in enumerate(rows)
    ]
    bottom = TOP + ROW * len(rows) + 6
    rule, zero = (TOP + ROW + 3, None) if macro_first else (None, axis.at(0.0))
    return Forest(WIDTH, bottom + BOTTOM, left, WIDTH - RIGHT, TOP, bottom, rule, zero, placed, axis.ticks)


def change(before: Reading | None, after: Reading | None) -> str:
    """Relative change in words: "−62 %"."""
    if before is None or after is None or before.value == 0:
        return "–"
    return signed_percent((after.value - before.value) / before.value)


def marked_name(row: ForestRow) -> str:
    return row.name if row.in_macro else f"{row.name}\u00a0{LEFT_OUT}"


def marked_change(row: ForestRow) -> str:
    alone = row.before is None and row.after is not None
    text = number(row.after.value, signed=True) if alone and row.after else change(row.before, row.after)
    return f"{text}\u00a0{SIGNIFICANT}" if row.significant else text


def _mark(reading: Reading | None, axis: Scale) -> Mark | None:
    if reading is None:
        return None
    low, high = (None if bound is None else axis.at(bound) for bound in (reading.low, reading.high))
    return Mark(axis.at(reading.value), low, high)


def _reduction(row: ForestRow) -> tuple[int, float, str]:
    if row.before is None or row.after is None:
        return (2, 0.0, row.name)
    if row.before.value == 0:
        return (1, row.after.value, row.name)
    return (0, row.after.value / row.before.value, row.name)


def _spoken(row: ForestRow) -> str:
    if row.after is None:
        return f"{row.name}: {row.reason}"

    def say(reading: Reading) -> str:
        interval = "" if reading.low is None else f" ({number(reading.low)} to {number(reading.high)})"
        return f"{number(reading.value)}{interval}"

    said = f"{row.name}: {say(row.after)}"
    if row.before is not None:
        said = f"{row.name}: before {say(row.before)}, after {say(row.after)}, {change(row.before, row.after)}"
    return said + (", significant" if row.significant else "") + ("" if row.in_macro else ", left out of the mean")
