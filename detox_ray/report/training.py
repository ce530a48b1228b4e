"""The course of each training: its curves over the steps, where it stopped, and which step's weights were kept.

A line with more than MOST points is drawn as the means of equally long runs of neighbouring points. The table of the
curves (``tables/training.csv``) has every point.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from detox_ray.report.content import ReportContent, TrainingLog
from detox_ray.report.labels import number

MOST = 300  # points of a line

Points = list[tuple[float, float]]  # step, value


class TrainingLine(NamedTuple):
    """One logged quantity over the steps."""

    name: str
    kind: str  # training, validation, chosen or rejected: sets colour and style
    points: Points


class StepMark(NamedTuple):
    """A step at which something happened."""

    step: int
    kind: str  # kept or stopped
    text: str


class Chart(NamedTuple):
    """One quantity over the steps."""

    title: str
    unit: str
    decimals: int
    lines: list[TrainingLine]
    marks: list[StepMark]
    steps: int


class TrainingSummary(NamedTuple):
    """One model's training, ready for the page."""

    training: TrainingLog
    ended: str
    figure: str  # the name of its figure; "" if nothing was logged


_Source = tuple[str, str, str, str]  # the line's name and kind, part of the log, column
_BOTH = (("training", "training", "log"), ("validation", "validation", "validation"))
_RATIOS = [(side, side, "validation", f"{side}_log_ratio") for side in ("chosen", "rejected")]
_KL = [(*_BOTH[1], "kl_to_parent")]
_CHARTS: list[tuple[str, str, int, list[_Source]]] = [  # title, unit, decimals, lines
    ("Loss", "loss", 3, [(*line, "loss") for line in _BOTH]),
    ("Preference part of the loss", "loss", 3, [(*line, "preference_loss") for line in _BOTH]),
    (
        "Likelihood part of the loss",
        "nats per token, before its weight",
        3,
        [(*line, "likelihood_loss") for line in _BOTH],
    ),
    ("Reward margin", "chosen minus rejected", 3, [(*line, "reward_margin") for line in _BOTH]),
    ("Reward accuracy", "share of pairs", 2, [(*line, "reward_accuracy") for line in _BOTH]),
    ("Log-ratio to the parent (validation)", "nats per completion", 1, _RATIOS),
    ("KL divergence from the parent", "nats per token", 4, _KL),
    ("KL as TRL estimates it", "nats per completion", 2, [(*line, "kl_estimate") for line in _BOTH]),
    ("Token accuracy", "share of tokens", 2, [(*line, "token_accuracy") for line in _BOTH]),
    ("Log odds ratio", "chosen over rejected", 3, [(*line, "log_odds_ratio") for line in _BOTH]),
    ("Gradient norm", "before clipping", 2, [("training", "training", "log", "grad_norm")]),
]


def figure_name(training: TrainingLog) -> str:
    """Return the name of the figure of a model's curves."""
    return f"training-{training.model}"


def summaries(content: ReportContent) -> list[TrainingSummary]:
    """Return every training, in the models' order."""
    return [
        TrainingSummary(training, sentence(training), figure_name(training) if charts(training) else "")
        for training in content.training
    ]


def charts(training: TrainingLog) -> list[Chart]:
    """Return a chart for each quantity that the training logged."""
    marks = []
    if training.validation:
        marks.append(StepMark(training.kept_step, "kept", f"kept: step {training.kept_step:,}"))
    if training.stopped == "early":
        marks.append(StepMark(training.steps, "stopped", f"stopped early: step {training.steps:,}"))
    panels = []
    for title, unit, decimals, sources in _CHARTS:
        parts = {"log": training.log, "validation": training.validation}
        lines = [TrainingLine(name, kind, _points(parts[part], column)) for name, kind, part, column in sources]
        if kept := [line for line in lines if line.points]:
            panels.append(Chart(title, unit, decimals, kept, marks, training.steps))
    return panels


def _points(rows: Sequence[Mapping[str, float]], column: str) -> Points:
    points = [(row["step"], row[column]) for row in rows if column in row]
    run = -(-len(points) // MOST)
    if run <= 1:
        return points
    runs = [points[start : start + run] for start in range(0, len(points), run)]
    return [(fmean(step for step, _ in part), fmean(value for _, value in part)) for part in runs]


def chart_text(chart: Chart) -> str:
    """Return a chart in words: the values at which each of its lines begins and ends."""
    parts = []
    for line in chart.lines:
        (first, begin), (last, end) = line.points[0], line.points[-1]
        values = f"{number(begin, chart.decimals)} at step {first:g} to {number(end, chart.decimals)} at step {last:g}"
        parts.append(f"{line.name}: {values}")
    return f"{chart.title}: " + "; ".join([*parts, *(mark.text for mark in chart.marks)])


def sentence(training: TrainingLog) -> str:
    """Return sentences on how a training ended and which weights were kept."""
    losses = {row["step"]: row["loss"] for row in training.validation}
    took = f"{training.steps:,} steps"
    if training.stopped == "early":
        took += f" of {training.planned_steps:,} planned, stopped early because the validation loss no longer fell"
    kept = f"The weights kept are those of step {training.kept_step:,}"
    if training.kept_step in losses:
        lowest = ", the lowest of" if training.kept_step == training.best_step else ", one of"
        kept += f"{lowest} {len(losses)} evaluations (validation loss {number(losses[training.kept_step], 3)})"
    divergence = f" The KL divergence from the parent was not measured: {training.no_kl}." if training.no_kl else ""
    return f"Trained by {training.method} in {took}. {kept}.{divergence}"


def curve_lines(content: ReportContent) -> list[dict[str, object]]:
    """Return one line per model and logged row. All lines have the same columns; a missing number is ""."""
    rows = [
        {"model": training.model, "part": part, **row}
        for training in content.training
        for part, log in (("training", training.log), ("validation", training.validation))
        for row in log
    ]
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name, "") for name in columns} for row in rows]
