"""Finds rows of the metrics and comparisons tables again: one pair of models, its series, and each row's two sides."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from detox_ray.report.scales import Reading
from detox_ray.report.words import HELD_OUT, MACRO, METRIC_ORDER
from detox_ray.storage.tables import OK

Row = Mapping[str, Any]


class Series(NamedTuple):
    """What rows over languages have in common."""

    metric: str
    scorer: str
    convention: str


class Values:
    """The metrics table by place."""

    def __init__(self, rows: Iterable[Row]):
        self._rows = {(series_of(row), row["model"], row["language"]): row for row in rows}

    def of(self, series: Series, model: str, language: str) -> Row | None:
        return self._rows.get((series, model, language))

    def sides(self, row: Row) -> tuple[Row, Row]:
        """The parent's and the model's own rows under a row of the comparisons table."""
        place = series_of(row)
        return self._rows[place, row["parent"], row["language"]], self._rows[place, row["model"], row["language"]]

    def series(self, primary: str, convention: str) -> list[Series]:
        """Every series: the chosen convention's first, then metrics as listed, then the primary scorer's."""
        return sorted({series for series, _, _ in self._rows}, key=lambda s: _order(s, primary, convention))


def series_of(row: Row) -> Series:
    return Series(row["metric"], row["scorer"], row["convention"])


def by_series(rows: Sequence[Row], model: str, parent: str, primary: str, convention: str) -> dict[Series, list[Row]]:
    """The comparisons of one pair of models, in the report's order."""
    found: dict[Series, list[Row]] = {}
    for row in rows:
        if (row["model"], row["parent"]) == (model, parent):
            found.setdefault(series_of(row), []).append(row)
    return {series: found[series] for series in sorted(found, key=lambda s: _order(s, primary, convention))}


def macro_of(rows: Sequence[Row]) -> Row | None:
    """The macro mean's row, where it has a value."""
    return next((row for row in rows if row["language"] == MACRO and row["status"] == OK), None)


def reading(row: Row | None) -> Reading | None:
    return None if row is None or row["value"] is None else Reading(row["value"], row["ci_low"], row["ci_high"])


def p_of(row: Row) -> float | None:
    """Corrected over languages; the mean over languages is one test."""
    p: float | None = row["p_value"] if row["language"] == MACRO else row["p_corrected"]
    return p


def significant(row: Row, confidence: float) -> bool:
    p = p_of(row)
    return p is not None and p <= round(1 - confidence, 9)


def _order(series: Series, primary: str, convention: str) -> tuple[bool, int, bool, str, str]:
    place = METRIC_ORDER.index(series.metric) if series.metric in METRIC_ORDER else len(METRIC_ORDER)
    first = series.scorer not in (primary, HELD_OUT)
    return (series.convention != convention, place, first, series.scorer, series.convention)
