"""The change of bias plotted against the change of toxicity: one dot per tuned model.

Neplenbroek et al. 2025 find that methods differ in which of the two they lower. Both are macro means of the difference
from the parent, with their intervals. Left of zero, a model is closer to fair; below zero, it is less toxic.
"""

from detox_ray.measure.losses import conventions_of
from detox_ray.measure.losses import losses as measured_losses
from detox_ray.report.content import ReportContent
from detox_ray.report.interval_value import IntervalValue
from detox_ray.report.labels import MACRO
from detox_ray.report.result_rows import Row, SeriesKey, series_of
from detox_ray.report.shown_models import shown_pairs
from detox_ray.report.tradeoff import Cloud, Point
from detox_ray.storage.metric_spec import ALL
from detox_ray.storage.tables import OK

NAME = "bias-toxicity"


def change_clouds(content: ReportContent) -> list[Cloud]:
    """Return a panel for each set of pairs or questions whose distance from fair was compared."""
    described = content.described
    comparisons = content.comparisons.to_pylist()
    conventions = conventions_of(comparisons, content.convention)
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


def _change(row: Row) -> IntervalValue:
    return IntervalValue(row["difference"], row["ci_low"], row["ci_high"])


def _inside(title: str) -> str:
    """Return a title as it is written within a sentence. A name such as StereoSet keeps its capitals."""
    return title if any(letter.isupper() for letter in title.partition(" ")[0][1:]) else title[:1].lower() + title[1:]


def losses(content: ReportContent) -> dict[str, list[str]]:
    """Return, for each tuned model that lost any, the abilities and knowledge that it lost with confidence."""
    found = measured_losses(content.comparisons.to_pylist(), content.described, content.convention)
    return {model: lost for model, parent in shown_pairs(content) if (lost := found.get((model, parent)))}
