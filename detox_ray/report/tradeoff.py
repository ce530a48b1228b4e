"""Trade-offs: toxicity against its possible costs, one point per model, with intervals and the frontier.

A model is on the frontier if no other model is at least as good on both axes and better on one, by the values alone;
the intervals show how certain that is. Values are macro means. Published results are hollow marks and never part of a
frontier. Sweeps (sweeps.py) are drawn on the same axes, as curves.
"""

from collections.abc import Sequence
from typing import NamedTuple

from detox_ray.report import published
from detox_ray.report.content import ReportContent
from detox_ray.report.interval_value import IntervalValue
from detox_ray.report.labels import KINDS, MACRO, number
from detox_ray.report.result_rows import MetricValues, SeriesKey, interval_value
from detox_ray.report.shown_models import shown_models, shown_pairs
from detox_ray.storage.metric_spec import ALL, Direction, Ideal, Metrics


class Point(NamedTuple):
    """A model, the parent of a sweep, or a published result."""

    name: str
    x: IntervalValue
    y: IntervalValue
    published: bool = False
    parent: bool = False


class Cloud(NamedTuple):
    """One panel. ``links`` join parents and models, and ``curves`` the models of sweeps, by the indices of points."""

    title: str
    x_label: str
    y_label: str
    x_decimals: int
    x_direction: Direction  # which values are better; lower on the y axis
    points: list[Point]
    links: list[tuple[int, int]]
    curves: tuple[tuple[int, ...], ...] = ()
    ranked: bool = True  # whether to draw the frontier
    changes: bool = False  # whether both axes are changes, so that zero is drawn

    @property
    def frontier(self) -> list[int]:
        """Return the indices of the models that no other model beats, from left to right; [] if they are not ranked."""
        if not self.ranked:
            return []
        measured = [i for i, point in enumerate(self.points) if not point.published]
        place = {i: (self._x_loss(self.points[i].x.value), self.points[i].y.value) for i in measured}

        def beaten(i: int) -> bool:
            return any(
                place[j][0] <= place[i][0] and place[j][1] <= place[i][1] and place[j] != place[i] for j in measured
            )

        return sorted(
            (i for i in measured if not beaten(i)), key=lambda i: (self.points[i].x.value, self.points[i].y.value)
        )

    def _x_loss(self, value: float) -> float:
        """Return a number that is lower for better values."""
        if isinstance(self.x_direction, Ideal):
            return abs(value - self.x_direction.value)
        return value if self.x_direction == "lower" else -value


def clouds(content: ReportContent) -> list[Cloud]:
    """Return a panel for each measured cost that has a macro value for at least one model."""
    values = MetricValues(content.metrics.to_pylist(), content.described)
    headline = values.headline(content.primary, content.convention)
    t5 = {evaluator.name for evaluator in content.evaluators if evaluator.kind == "t5"}
    models, pairs = shown_models(content), shown_pairs(content)
    return [
        cloud(headline, axis, [(model, values, model) for model in models], pairs, axis.scorer in t5, content.described)
        for axis in axes(values, content.primary, content.convention)
        if any(interval_value(values.of(axis, model, MACRO)) for model in models)
    ]


def axes(values: MetricValues, primary: str, convention: str) -> list[SeriesKey]:
    """Return the series against which the headline metric is plotted."""
    return [
        s
        for s in values.series(primary, convention)
        if values.describe(s).tradeoff and s.convention == convention and s.part == ALL
    ]


def cloud(
    headline: SeriesKey,
    axis: SeriesKey,
    models: Sequence[tuple[str, MetricValues, str]],
    pairs: Sequence[tuple[str, str]],
    papers_perplexity: bool,
    metrics: Metrics,
) -> Cloud:
    """Return one panel.

    Args:
        headline: The series of the y axis.
        axis: The series of the x axis.
        models: For each model, its shown name, the values of its run, and its name there.
        pairs: (model, parent) by shown name, to be linked.
        papers_perplexity: Whether perplexity is measured as in the paper, so that published values are comparable.
        metrics: Descriptions of the metrics.
    """
    points = []
    for name, values, model in models:
        x, y = interval_value(values.of(axis, model, MACRO)), interval_value(values.of(headline, model, MACRO))
        if x is not None and y is not None:
            points.append(Point(name, x, y))
    number_of = {point.name: i for i, point in enumerate(points)}
    links = [(number_of[p], number_of[m]) for m, p in pairs if p in number_of and m in number_of]
    if points and (axis.metric != published.PERPLEXITY or papers_perplexity):
        for before, after in published.points(axis.metric, headline.metric):
            links.append((len(points), len(points) + 1))
            for name, cost, toxicity in (before, after):
                x, y = IntervalValue(cost, None, None), IntervalValue(toxicity, None, None)
                points.append(Point(name, x, y, published=True))
    return framed(headline, axis, metrics)._replace(points=points, links=links)


def framed(headline: SeriesKey, axis: SeriesKey, metrics: Metrics) -> Cloud:
    """Return a panel with its title and axes but without points."""
    metric, title = metrics.of(axis.metric, axis.scorer), metrics.title(axis.metric, axis.scorer)
    y_label = metrics.title(headline.metric, headline.scorer)
    return Cloud(
        f"{KINDS[metrics.of(headline.metric).kind]} against {title.lower()}",
        f"{title} ({metric.direction_text})",
        y_label,
        metric.decimals,
        metric.direction,
        [],
        [],
    )


def point_text(point: Point, cloud: Cloud) -> str:
    """Return a point in words, for screen readers and tooltips."""
    mark = "published, " if point.published else ""
    x, y = _value_text(point.x, cloud.x_decimals), _value_text(point.y, 3)
    return f"{mark}{point.name}: {cloud.x_label} {x}, {cloud.y_label} {y}"


def _value_text(value: IntervalValue, decimals: int) -> str:
    low, high = value.low, value.high
    bounds = "" if low is None or high is None else f" ({number(low, decimals)} to {number(high, decimals)})"
    return number(value.value, decimals) + bounds
