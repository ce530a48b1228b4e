"""How each model learned: its curves over the steps, where it stopped, and which step's weights were kept.

A line of more than MOST points is drawn as means of runs of neighbouring points, as many in each run; the table of the
curves (``tables/training.csv``) has every point.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from detox_ray.report.content import ReportContent, Training
from detox_ray.report.labels import number
from detox_ray.report.scales import Tick, scale

WIDTH, HEIGHT = 460, 260
LEFT, RIGHT, TOP, BOTTOM = 70, 14, 34, 44
MOST = 300  # points of a line

Points = list[tuple[float, float]]  # step, value


class Line(NamedTuple):
    name: str
    kind: str  # how it is drawn: training, validation, chosen or rejected
    points: Points


class Mark(NamedTuple):
    """A step at which something happened."""

    step: int
    kind: str  # kept or stopped
    words: str


class Chart(NamedTuple):
    """One quantity over the steps."""

    title: str
    unit: str
    decimals: int
    lines: list[Line]
    marks: list[Mark]
    steps: int


class PlacedLine(NamedTuple):
    name: str
    kind: str
    path: str  # an SVG path
    dots: list[tuple[float, float]]  # where it has so few points that each is shown
    label_x: float


class PlacedMark(NamedTuple):
    x: float
    kind: str
    words: str
    ends: bool  # the words end at x, rather than begin


class PlacedChart(NamedTuple):
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    title: str
    unit: str
    lines: list[PlacedLine]
    marks: list[PlacedMark]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    spoken: str


class Told(NamedTuple):
    """One model's training, ready for the page."""

    training: Training
    ended: str
    charts: list[PlacedChart]


_Source = tuple[str, str, str, str]  # the line's name and kind, part of the log, column
_BOTH = (("training", "training", "log"), ("validation", "validation", "validation"))
_RATIOS = [(side, side, "validation", f"{side}_log_ratio") for side in ("chosen", "rejected")]
_KL = [(*_BOTH[1], "kl_to_parent")]
_CHARTS: list[tuple[str, str, int, list[_Source]]] = [  # title, unit, decimals, lines
    ("Loss", "loss", 3, [(*line, "loss") for line in _BOTH]),
    ("Reward margin", "chosen minus rejected", 3, [(*line, "reward_margin") for line in _BOTH]),
    ("Reward accuracy", "share of pairs", 2, [(*line, "reward_accuracy") for line in _BOTH]),
    ("Log-ratio to the parent (validation)", "nats per completion", 1, _RATIOS),
    ("KL divergence from the parent", "nats per token", 4, _KL),
    ("KL as TRL estimates it", "nats per completion", 2, [(*line, "kl_estimate") for line in _BOTH]),
    ("Token accuracy", "share of tokens", 2, [(*line, "token_accuracy") for line in _BOTH]),
    ("Log odds ratio", "chosen over rejected", 3, [(*line, "log_odds_ratio") for line in _BOTH]),
    ("Gradient norm", "before clipping", 2, [("training", "training", "log", "grad_norm")]),
]


def told(content: ReportContent) -> list[Told]:
    """Every training, in the models' order."""
    return [Told(each, sentence(each), [place(chart) for chart in charts(each)]) for each in content.training]


def charts(training: Training) -> list[Chart]:
    """A chart for each quantity that the training logged."""
    marks = []
    if training.validation:
        marks.append(Mark(training.kept_step, "kept", f"kept: step {training.kept_step:,}"))
    if training.stopped == "early":
        marks.append(Mark(training.steps, "stopped", f"stopped early: step {training.steps:,}"))
    found = []
    for title, unit, decimals, sources in _CHARTS:
        parts = {"log": training.log, "validation": training.validation}
        lines = [Line(name, kind, _points(parts[part], column)) for name, kind, part, column in sources]
        if kept := [line for line in lines if line.points]:
            found.append(Chart(title, unit, decimals, kept, marks, training.steps))
    return found


def _points(rows: Sequence[Mapping[str, float]], column: str) -> Points:
    points = [(row["step"], row[column]) for row in rows if column in row]
    run = -(-len(points) // MOST)
    if run <= 1:
        return points
    runs = [points[start : start + run] for start in range(0, len(points), run)]
    return [(fmean(step for step, _ in part), fmean(value for _, value in part)) for part in runs]


def place(chart: Chart) -> PlacedChart:
    """The geometry of one chart."""
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    x = scale([0.0, float(chart.steps)], LEFT, right, most=5)
    y = scale([value for line in chart.lines for _, value in line.points], bottom, TOP, most=5)
    lines = []
    for number_, line in enumerate(chart.lines):
        placed = [(x.at(step), y.at(value)) for step, value in line.points]
        path = "M" + " L".join(f"{px} {py}" for px, py in placed)
        dots = placed if len(placed) <= 30 else []
        lines.append(PlacedLine(line.name, line.kind, path, dots, LEFT + 110 * number_))
    marks = [PlacedMark(x.at(m.step), m.kind, m.words, x.at(m.step) > (LEFT + right) / 2) for m in chart.marks]
    return PlacedChart(
        *(WIDTH, HEIGHT, LEFT, right, TOP, bottom, chart.title, chart.unit, lines, marks, x.ticks, y.ticks),
        _spoken(chart),
    )


def _spoken(chart: Chart) -> str:
    said = []
    for line in chart.lines:
        (first, begin), (last, end) = line.points[0], line.points[-1]
        values = f"{number(begin, chart.decimals)} at step {first:g} to {number(end, chart.decimals)} at step {last:g}"
        said.append(f"{line.name}: {values}")
    return "; ".join([*said, *(mark.words for mark in chart.marks)])


def sentence(training: Training) -> str:
    """How it ended, in words."""
    losses = {row["step"]: row["loss"] for row in training.validation}
    took = f"{training.steps:,} steps"
    if training.stopped == "early":
        took += f" of {training.planned_steps:,} planned, stopped early by a validation loss that fell no more"
    kept = f"The weights kept are those of step {training.kept_step:,}"
    if training.kept_step in losses:
        lowest = ", the lowest of" if training.kept_step == training.best_step else ", one of"
        kept += f"{lowest} {len(losses)} evaluations (validation loss {number(losses[training.kept_step], 3)})"
    divergence = f" The KL divergence from the parent was not measured: {training.no_kl}." if training.no_kl else ""
    return f"Trained by {training.method} in {took}. {kept}.{divergence}"


def curve_lines(content: ReportContent) -> list[dict[str, object]]:
    """One line per model and logged row, for the table: no number where a row has none. All have the same columns."""
    rows = [
        {"model": training.model, "part": part, **row}
        for training in content.training
        for part, log in (("training", training.log), ("validation", training.validation))
        for row in log
    ]
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name, "") for name in columns} for row in rows]
