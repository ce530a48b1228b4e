"""Cells of tables: a number and its interval, with the metric's decimals."""

from typing import NamedTuple

from detox_ray.report.forest import change
from detox_ray.report.labels import interval, number, signed_percent, signed_points
from detox_ray.report.result_rows import Row, interval_value
from detox_ray.storage.metric_spec import MetricDescription


class Cell(NamedTuple):
    """A number and its interval, as text."""

    value: str
    interval: str


def value_cell(row: Row | None, metric: MetricDescription) -> Cell:
    """Return the cell of a row of the metrics table; a dash if there is none."""
    if row is None:
        return Cell("–", "")
    d = metric.decimals
    return Cell(number(row["value"], d), interval(row["ci_low"], row["ci_high"], d))


def difference_cell(row: Row, metric: MetricDescription) -> Cell:
    """Return the cell of a row of the comparisons table."""
    d = metric.decimals
    return Cell(number(row["difference"], d, signed=True), interval(row["ci_low"], row["ci_high"], d, signed=True))


def change_cell(row: Row, before: Row, after: Row, metric: MetricDescription) -> Cell:
    """Return the relative change, or for a share, such as language consistency, the difference in percentage points.

    The relative change is the paired ratio minus 1, with its interval. Without a ratio it is computed from both values.
    """
    if metric.change == "points" and row["difference"] is not None:
        return Cell(signed_points(row["difference"]), "")
    if row["ratio"] is None:
        return Cell(change(interval_value(before), interval_value(after)), "")
    low, high = row["ratio_low"], row["ratio_high"]
    bounds = "" if low is None or high is None else f"[{signed_percent(low - 1)}, {signed_percent(high - 1)}]"
    return Cell(signed_percent(row["ratio"] - 1), bounds)
