"""The change of bias against the change of toxicity: one dot per tuned model.

Neplenbroek et al. 2025 find that methods differ in which of the two they lower. Both are macro means of the difference
from the parent, with their intervals: left of zero a model is nearer to fair, below zero it is less toxic.
"""

from collections.abc import Iterable

from detox_ray.report.content import ReportContent
from detox_ray.report.interval_value import IntervalValue
from detox_ray.report.labels import MACRO
from detox_ray.report.result_rows import Row, SeriesKey, series_of
from detox_ray.report.shown_models import shown_pairs
from detox_ray.report.tradeoff import Cloud, Point
from detox_ray.storage.metric_spec import ALL, Ideal
from detox_ray.storage.tables import OK

NAME = "bias-toxicity"
LOST_POINTS = 0.05  # of a share
LOST_RATIO = 1.25  # of any other metric, as the ready gate asks of perplexity


def change_clouds(content: ReportContent) -> list[Cloud]:
    """Return a panel for each set of pairs or questions whose distance from fair was compared."""
    described = content.described
    comparisons = content.comparisons.to_pylist()
    conventions = _conventions(comparisons, content.convention)
    rows = {
        (series_of(row), row["model"], row["parent"]): row
        for row in comparisons
        if row["language"] == MACRO and row["status"] == OK
    }
    headline = SeriesKey(described.headline, content.primary, content.convention)
    series = [
        key
        for key in dict.fromkeys(key for key, _, _ in rows)
        if (metric := described.of(key.metric, key.scorer)).kind == "bias"
        and metric.direction == "lower"
        and (key.part, key.convention) == (ALL, conventions[key.metric, key.scorer])
    ]
    clouds = []
    for key in series:
        points = []
        for model, parent in shown_pairs(content):
            x, y = rows.get((key, model, parent)), rows.get((headline, model, parent))
            if x is not None and y is not None:
                points.append(Point(model, _change(x), _change(y)))
        if points:
            title, toxicity = (described.of(each.metric, each.scorer).title for each in (key, headline))
            clouds.append(
                Cloud(
                    f"Change of {_inside(title)} ({key.scorer}) against change of {_inside(toxicity)}",
                    f"Change of {_inside(title)}, {key.scorer}",
                    f"Change of {_inside(toxicity)}",
                    described.of(key.metric, key.scorer).decimals,
                    "lower",
                    points,
                    [],
                    ranked=False,
                    changes=True,
                )
            )
    return clouds


def _conventions(rows: Iterable[Row], convention: str) -> dict[tuple[str, str], str]:
    """Return the convention of each (metric, scorer): the run's or, of a block with one of its own, that block's."""
    labels: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        labels.setdefault((row["metric"], row["scorer"]), set()).add(row["convention"])
    return {
        series: convention if convention in names else min(names, key=lambda name: (name.count("+"), name))
        for series, names in labels.items()
    }


def _change(row: Row) -> IntervalValue:
    return IntervalValue(row["difference"], row["ci_low"], row["ci_high"])


def _inside(title: str) -> str:
    """Return a title as it stands inside a sentence."""
    return title[:1].lower() + title[1:]


def losses(content: ReportContent) -> dict[str, list[str]]:
    """Return tuned model -> the abilities and knowledge that it surely lost, each with by how much.

    A loss is sure if the whole interval of the mean over languages lies beyond `LOST_POINTS` or, for a metric that is
    no share, `LOST_RATIO`. A model that lost ability may look debiased because it no longer tells sentences apart.
    """
    lost: dict[str, list[str]] = {}
    pairs = set(shown_pairs(content))
    comparisons = content.comparisons.to_pylist()
    conventions = _conventions(comparisons, content.convention)
    for row in comparisons:
        metric = content.described.of(row["metric"], row["scorer"])
        place = row["language"], row["status"], row["part"], row["convention"]
        if place != (MACRO, OK, ALL, conventions[row["metric"], row["scorer"]]):
            continue
        if metric.kind not in ("ability", "knowledge"):
            continue
        if (row["model"], row["parent"]) not in pairs or isinstance(metric.direction, Ideal):
            continue
        title = content.described.title(row["metric"], row["scorer"])
        if metric.change == "points":
            low, high = row["ci_low"], row["ci_high"]
            if low is not None and min(metric.loss(0, low), metric.loss(0, high)) > LOST_POINTS:
                lost.setdefault(row["model"], []).append(f"{title} {100 * row['difference']:+.1f} points")
        elif row["ratio_low"] is not None:
            worse = row["ratio_low"] if metric.direction == "lower" else 1 / row["ratio_high"]
            if worse > LOST_RATIO:
                lost.setdefault(row["model"], []).append(f"{title} times {row['ratio']:.2f}")
    return lost
