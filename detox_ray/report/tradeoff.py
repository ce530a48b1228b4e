"""Trade-offs: toxicity against what it may have cost, one point per model, with intervals and the frontier.

A model is on the frontier where no other model is at least as good on both axes and better on one, by the values alone
(the intervals say how sure that is). Values are macro means. Published results stand beside as hollow marks and are
never part of a frontier. Sweeps (sweeps.py) are drawn on the same axes, as curves.
"""

from collections.abc import Sequence
from typing import NamedTuple

from detox_ray.report import published
from detox_ray.report.content import ReportContent
from detox_ray.report.rows import Series, Values, reading
from detox_ray.report.scales import Reading, Tick, scale
from detox_ray.report.shown import shown_models, shown_pairs
from detox_ray.report.words import CONSISTENCY, HEADLINE, MACRO, PERPLEXITY, by, metric_words, number, shortened

WIDTH, HEIGHT = 460, 330
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 16, 48
LINE = 13  # between labels
AXES = (PERPLEXITY, "dist_2", CONSISTENCY)


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
    higher_x: bool  # is better
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
        side = -1 if self.higher_x else 1
        place = {i: (side * self.points[i].x.value, self.points[i].y.value) for i in own}

        def beaten(i: int) -> bool:
            return any(place[j][0] <= place[i][0] and place[j][1] <= place[i][1] and place[j] != place[i] for j in own)

        return sorted((i for i in own if not beaten(i)), key=lambda i: (self.points[i].x.value, self.points[i].y.value))


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
    values = Values(content.metrics.to_pylist())
    chief = Series(HEADLINE, content.primary, content.convention)
    t5 = {evaluator.name for evaluator in content.evaluators if evaluator.kind == "t5"}
    models, pairs = shown_models(content), shown_pairs(content)
    return [
        cloud(chief, axis, [(model, values, model) for model in models], pairs, axis.scorer in t5)
        for axis in axes(values, content.primary, content.convention)
        if any(reading(values.of(axis, model, MACRO)) for model in models)
    ]


def axes(values: Values, primary: str, convention: str) -> list[Series]:
    """The series that toxicity is drawn against."""
    return [s for s in values.series(primary, convention) if s.metric in AXES and s.convention == convention]


def cloud(
    chief: Series,
    axis: Series,
    models: Sequence[tuple[str, Values, str]],
    pairs: Sequence[tuple[str, str]],
    papers_perplexity: bool,
) -> Cloud:
    """One panel of models (shown name, its run's values, its name there) and (model, parent) by shown name."""
    points = []
    for name, values, model in models:
        x, y = reading(values.of(axis, model, MACRO)), reading(values.of(chief, model, MACRO))
        if x is not None and y is not None:
            points.append(Point(name, x, y))
    number_of = {point.name: i for i, point in enumerate(points)}
    links = [(number_of[p], number_of[m]) for m, p in pairs if p in number_of and m in number_of]
    if points and (axis.metric != PERPLEXITY or papers_perplexity):
        for before, after in published.points(axis.metric):
            links.append((len(points), len(points) + 1))
            points += [
                Point(name, Reading(x, None, None), Reading(y, None, None), True) for name, x, y in (before, after)
            ]
    return framed(chief, axis)._replace(points=points, links=links)


def framed(chief: Series, axis: Series) -> Cloud:
    """A panel without points: its title and axes."""
    words = metric_words(axis.metric)
    x_label, y_label = f"{by(axis.metric, axis.scorer)} ({words.better} is better)", by(*chief[:2])
    title = f"Toxicity against {by(axis.metric, axis.scorer).lower()}"
    return Cloud(title, x_label, y_label, words.decimals, words.better == "higher", [], [])


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
