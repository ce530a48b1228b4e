"""Rows of the forest plots, one per language or pair of models: their values, order and texts.

The macro mean comes first, then the languages by relative reduction. Languages without a value come last, with the
reason. ``figure_files.py`` draws the rows.
"""

from collections.abc import Sequence
from typing import NamedTuple

from detox_ray.report.interval_value import IntervalValue
from detox_ray.report.labels import number, signed_percent

SIGNIFICANT = "*"  # readable without colour
LEFT_OUT = "†"


class ForestRow(NamedTuple):
    """One row: two values, or only ``after`` (a difference), or the ``reason`` why there is no value."""

    name: str
    before: IntervalValue | None
    after: IntervalValue | None
    reason: str = ""
    significant: bool = False  # after correction
    in_macro: bool = True


def ordered(macro: ForestRow, languages: Sequence[ForestRow]) -> list[ForestRow]:
    """Return the macro mean, then the languages by relative reduction."""
    return [macro, *sorted(languages, key=_reduction)]


def change(before: IntervalValue | None, after: IntervalValue | None) -> str:
    """Format the relative change, such as "−62 %"."""
    if before is None or after is None or before.value == 0:
        return "–"
    return signed_percent((after.value - before.value) / before.value)


def marked_name(row: ForestRow) -> str:
    """Return a row's name, with a dagger if it is left out of the mean."""
    return row.name if row.in_macro else f"{row.name}\u00a0{LEFT_OUT}"


def marked_change(row: ForestRow) -> str:
    """Format a row's change or difference, with an asterisk if it is significant."""
    if row.before is None and row.after is not None:
        text = number(row.after.value, signed=True)
    else:
        text = change(row.before, row.after)
    return f"{text}\u00a0{SIGNIFICANT}" if row.significant else text


def row_text(row: ForestRow) -> str:
    """Return a row in words, for screen readers and tooltips."""
    if row.after is None:
        return f"{row.name}: {row.reason}"
    text = f"{row.name}: {_value_text(row.after)}"
    if row.before is not None:
        before, after = _value_text(row.before), _value_text(row.after)
        text = f"{row.name}: before {before}, after {after}, {change(row.before, row.after)}"
    return text + (", significant" if row.significant else "") + ("" if row.in_macro else ", left out of the mean")


def _value_text(value: IntervalValue) -> str:
    interval = "" if value.low is None else f" ({number(value.low)} to {number(value.high)})"
    return f"{number(value.value)}{interval}"


def _reduction(row: ForestRow) -> tuple[int, float, str]:
    if row.before is None or row.after is None:
        return (2, 0.0, row.name)
    if row.before.value == 0:
        return (1, row.after.value, row.name)
    return (0, row.after.value / row.before.value, row.name)
