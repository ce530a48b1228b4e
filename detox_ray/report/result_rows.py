"""Lookup of rows in the tables of metrics and comparisons: by series, by model and language, by pair of models."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from detox_ray.report.interval_value import IntervalValue
from detox_ray.report.labels import MACRO
from detox_ray.storage.metric_spec import ALL, MetricDescription, Metrics
from detox_ray.storage.tables import OK

Row = Mapping[str, Any]


class SeriesKey(NamedTuple):
    """The fields that the rows of one series share. A series has a row for each model and language."""

    metric: str
    scorer: str
    convention: str
    part: str = ALL


class MetricValues:
    """The metrics table, indexed by series, model and language, with the descriptions of its metrics.

    Raises:
        UnknownMetric: If a row has a metric without a description.
    """

    def __init__(self, rows: Iterable[Row], metrics: Metrics):
        self.metrics = metrics
        self._rows = {(series_of(row), row["model"], row["language"]): row for row in rows}
        for series, _, _ in self._rows:
            metrics.of(series.metric, series.scorer)

    def of(self, series: SeriesKey, model: str, language: str) -> Row | None:
        return self._rows.get((series, model, language))

    def sides(self, row: Row) -> tuple[Row, Row]:
        """Return the metrics rows of the parent and of the model that a row of the comparisons table compares."""
        series = series_of(row)
        return self._rows[series, row["parent"], row["language"]], self._rows[series, row["model"], row["language"]]

    def describe(self, series: SeriesKey) -> MetricDescription:
        return self.metrics.of(series.metric, series.scorer)

    def title(self, series: SeriesKey) -> str:
        return self.metrics.title(series.metric, series.scorer, series.part)

    def headline(self, scorer: str, convention: str) -> SeriesKey:
        """Return the series of the headline metric."""
        return SeriesKey(self.metrics.headline, scorer, convention)

    def by_other_scorer(self, series: SeriesKey, primary: str) -> bool:
        """Return whether a series is toxicity by another scorer than the primary one."""
        return self.describe(series).kind == "toxicity" and series.scorer != primary

    def series(self, primary: str, convention: str) -> list[SeriesKey]:
        """Return every series, sorted by convention (the given one first), metric, and scorer (the primary first)."""
        every_series = {series for series, _, _ in self._rows}
        return sorted(every_series, key=lambda series: _order(series, self.metrics, primary, convention))


def series_of(row: Row) -> SeriesKey:
    return SeriesKey(row["metric"], row["scorer"], row["convention"], row["part"])


def by_series(
    rows: Sequence[Row], metrics: Metrics, model: str, parent: str, primary: str, convention: str
) -> dict[SeriesKey, list[Row]]:
    """Return the comparisons of one pair of models by series, in the report's order."""
    groups: dict[SeriesKey, list[Row]] = {}
    for row in rows:
        if (row["model"], row["parent"]) == (model, parent):
            groups.setdefault(series_of(row), []).append(row)
    return {series: groups[series] for series in sorted(groups, key=lambda s: _order(s, metrics, primary, convention))}


def macro_of(rows: Sequence[Row]) -> Row | None:
    """Return the macro mean's row if it has a value."""
    return next((row for row in rows if row["language"] == MACRO and row["status"] == OK), None)


def interval_value(row: Row | None) -> IntervalValue | None:
    """Return a row's value with its interval, if it has one."""
    return None if row is None or row["value"] is None else IntervalValue(row["value"], row["ci_low"], row["ci_high"])


def p_of(row: Row) -> float | None:
    """Return the p-value, corrected over languages except for the mean over languages, which is one test."""
    p: float | None = row["p_value"] if row["language"] == MACRO else row["p_corrected"]
    return p


def significant(row: Row, confidence: float) -> bool:
    """Return whether a difference is significant, after correction."""
    p = p_of(row)
    return p is not None and p <= round(1 - confidence, 9)


def _order(
    series: SeriesKey, metrics: Metrics, primary: str, convention: str
) -> tuple[bool, int, bool, str, str, bool, str]:
    place = metrics.names.index(series.metric)
    own_or_fixed = series.scorer == primary or metrics.of(series.metric, series.scorer).scorer is not None
    rest = (series.scorer, series.convention, series.part != ALL, series.part)
    return (series.convention != convention, place, not own_or_fixed, *rest)
