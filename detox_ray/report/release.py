"""The recommendation: which model to release, according to the gate's verdicts."""

from typing import NamedTuple

from detox_ray.gate import FAIL, PASS
from detox_ray.gate.sentences import listed
from detox_ray.report.content import ReportContent
from detox_ray.report.forest import change
from detox_ray.report.labels import MACRO, number
from detox_ray.report.result_rows import MetricValues, interval_value


class Recommendation(NamedTuple):
    """The first sentence of the page."""

    model: str | None  # the model to release, if any
    advice: str  # "Release detox."
    why: str


def recommended(content: ReportContent) -> str | None:
    """Return the model to release: the one with the lowest headline value of those that pass the gate, if any."""
    values = MetricValues(content.metrics.to_pylist(), content.described)
    series = values.headline(content.primary, content.convention)
    passing: list[tuple[float, str]] = []
    for verdict in content.verdicts:
        value = interval_value(values.of(series, verdict.model, MACRO))
        if verdict.verdict == PASS:
            passing.append((float("inf") if value is None else value.value, verdict.model))
    return min(passing, key=lambda entry: entry[0])[1] if passing else None


def recommendation(content: ReportContent) -> Recommendation | None:
    """Return the advice and its reason; None if there is nothing to judge."""
    if not content.verdicts:
        return None
    model = recommended(content)
    if model is not None:
        verdict = next(v for v in content.verdicts if v.model == model and v.verdict == PASS)
        return Recommendation(model, f"Release {model}.", _fall(content, model, verdict.parent))
    failing = [verdict.model for verdict in content.verdicts if verdict.verdict == FAIL]
    undecided = [verdict.model for verdict in content.verdicts if verdict.verdict != FAIL]
    which = content.verdicts[0].model if len(content.verdicts) == 1 else "any of these models"
    reasons = []
    if failing:
        reasons.append(f"The release rules are not met by {listed(failing)}.")
    if undecided:
        reasons.append(f"This experiment is too small, or lacks a measurement, to judge {listed(undecided)}.")
    return Recommendation(None, f"Do not release {which}{' yet' * bool(undecided)}.", " ".join(reasons))


def _fall(content: ReportContent, model: str, parent: str) -> str:
    """Return a sentence on how far the headline value fell in the mean over languages."""
    values = MetricValues(content.metrics.to_pylist(), content.described)
    series = values.headline(content.primary, content.convention)
    row = values.of(series, model, MACRO)
    before, after = interval_value(values.of(series, parent, MACRO)), interval_value(row)
    if row is None or before is None or after is None:
        return "It meets every release rule."
    title = content.described.of(series.metric).title
    moved = f"from {number(before.value)} to {number(after.value)} ({change(before, after)})"
    return f"{title} falls {moved}, mean of {row['n']} languages; every release rule is met."
