"""Trade-offs: toxicity against what it may have cost, one point per model, with intervals and the frontier.

A model is on the frontier where no other model is at least as good on both axes and better on one, by the values alone
(the intervals say how sure that is). Values are macro means. Published results stand beside as hollow marks and are
never part of a frontier. Sweeps (sweeps.py) are drawn on the same axes, as curves.
"""

from collections.abc import Sequence
from typing import NamedTuple

from detox_ray.report import published
from detox_ray.report.content import ReportContent
from detox_ray.report.labels import KINDS, MACRO, number, shortened
from detox_ray.report.result_rows import MetricValues, SeriesKey, reading
from detox_ray.report.scales import Reading, Tick, scale
from detox_ray.report.shown_models import shown_models, shown_pairs
from detox_ray.storage.metric_spec import ALL, Direction, Ideal, Metrics

WIDTH, HEIGHT = 460, 330
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 16, 48
LINE = 13  # between labels


class Point(NamedTuple):
    """A model, the parent of a sweep, or a published result."""

    name: str
    x: Reading
    y: Reading
    published: bool = False
    parent: bool = False


class Cloud(NamedTuple):
    """One panel. ``links`` join parent and model by their points' numbers, ``curves`` what a sweep went through."""

    title: str
    x_label: str
    y_label: str
    x_decimals: int
    x_direction: Direction  # which values are better; lower on the y axis
    points: list[Point]
    links: list[tuple[int, int]]
    curves: tuple[tuple[int, ...], ...] = ()
    ranked: bool = True  # draw the frontier

    @property
    def frontier(self) -> list[int]:
        """Numbers of the models that no other model beats, from left to right; none where they are not ranked."""
        if not self.ranked:
            return []
        own = [i for i, point in enumerate(self.points) if not point.published]
        place = {i: (self._x_loss(self.points[i].x.value), self.points[i].y.value) for i in own}

        def beaten(i: int) -> bool:
            return any(place[j][0] <= place[i][0] and place[j][1] <= place[i][1] and place[j] != place[i] for j in own)

        return sorted((i for i in own if not beaten(i)), key=lambda i: (self.points[i].x.value, self.points[i].y.value))

    def _x_loss(self, value: float) -> float:
        """Return a number that is lower the better the value."""
        if isinstance(self.x_direction, Ideal):
            return abs(value - self.x_direction.value)
        return value if self.x_direction == "lower" else -value


class PlacedPoint(NamedTuple):
    name: str
    published: bool
    parent: bool
    x: float
    y: float
    x_low: float
    x_high: float
    y_low: float
    y_high: float
    label_x: float
    label_y: float
    label_end: bool  # the label ends at label_x, rather than begins
    spoken: str


class Panel(NamedTuple):
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    title: str
    x_label: str
    y_label: str
    points: list[PlacedPoint]
    links: list[tuple[float, float, float, float]]
    frontier: str  # an SVG path; "" with fewer than two models
    curves: list[str]  # SVG paths
    x_ticks: list[Tick]
    y_ticks: list[Tick]


def clouds(content: ReportContent) -> list[Cloud]:
    """A panel for each cost that was measured and has macro values of at least one model."""
    values = MetricValues(content.metrics.to_pylist(), content.described)
    headline = values.headline(content.primary, content.convention)
    t5 = {evaluator.name for evaluator in content.evaluators if evaluator.kind == "t5"}
    models, pairs = shown_models(content), shown_pairs(content)
    return [
        cloud(headline, axis, [(model, values, model) for model in models], pairs, axis.scorer in t5, content.described)
        for axis in axes(values, content.primary, content.convention)
        if any(reading(values.of(axis, model, MACRO)) for model in models)
    ]


def axes(values: MetricValues, primary: str, convention: str) -> list[SeriesKey]:
    """Return the series that the headline metric is plotted against."""
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
    """One panel of models (shown name, its run's values, its name there) and (model, parent) by shown name."""
    points = []
    for name, values, model in models:
        x, y = reading(values.of(axis, model, MACRO)), reading(values.of(headline, model, MACRO))
        if x is not None and y is not None:
            points.append(Point(name, x, y))
    number_of = {point.name: i for i, point in enumerate(points)}
    links = [(number_of[p], number_of[m]) for m, p in pairs if p in number_of and m in number_of]
    if points and (axis.metric != published.PERPLEXITY or papers_perplexity):
        for before, after in published.points(axis.metric, headline.metric):
            links.append((len(points), len(points) + 1))
            points += [
                Point(name, Reading(x, None, None), Reading(y, None, None), True) for name, x, y in (before, after)
            ]
    return framed(headline, axis, metrics)._replace(points=points, links=links)


def framed(headline: SeriesKey, axis: SeriesKey, metrics: Metrics) -> Cloud:
    """Return a panel without points: its title and axes."""
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


def place(made: Cloud) -> Panel:
    """The geometry of one panel."""
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    x = scale([end for point in made.points for end in point.x.ends], LEFT, right, most=5)
    y = scale([0.0, *(end for point in made.points for end in point.y.ends)], bottom, TOP, most=5)
    placed: list[PlacedPoint] = []
    taken: list[tuple[float, float]] = []
    for point in made.points:
        px, py = x.at(point.x.value), y.at(point.y.value)
        ends = px > (LEFT + right) / 2
        label_y = py - 7
        while any(abs(label_y - other) < LINE and abs(px - at) < 110 for at, other in taken):
            label_y -= LINE
        if not point.published:
            taken.append((px, label_y))
        (x_low, x_high), (y_low, y_high) = point.x.ends, point.y.ends
        placed.append(
            PlacedPoint(
                *(
                    shortened(point.name),
                    point.published,
                    point.parent,
                    px,
                    py,
                    x.at(x_low),
                    x.at(x_high),
                    y.at(y_low),
                    y.at(y_high),
                ),
                *(px + (-8 if ends else 8), label_y, ends, _spoken(point, made)),
            )
        )
    front = [placed[i] for i in made.frontier]
    links = [(placed[a].x, placed[a].y, placed[b].x, placed[b].y) for a, b in made.links]
    return Panel(
        *(WIDTH, HEIGHT, LEFT, right, TOP, bottom, made.title, made.x_label, made.y_label, placed, links),
        _path(front) if len(front) > 1 else "",
        [_path([placed[i] for i in curve]) for curve in made.curves],
        x.ticks,
        y.ticks,
    )


def _path(points: Sequence[PlacedPoint]) -> str:
    return "M" + " L".join(f"{p.x} {p.y}" for p in points)


def _spoken(point: Point, made: Cloud) -> str:
    def say(reading: Reading, decimals: int) -> str:
        low, high = reading.low, reading.high
        bounds = "" if low is None or high is None else f" ({number(low, decimals)} to {number(high, decimals)})"
        return number(reading.value, decimals) + bounds

    mark = "published, " if point.published else ""
    return f"{mark}{point.name}: {made.x_label} {say(point.x, made.x_decimals)}, {made.y_label} {say(point.y, 3)}"
