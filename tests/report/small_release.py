"""A small experiment with two tuned models: `detox` keeps every language, `dpo` is less toxic and loses English."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
from small_experiment import content

from detox_ray.config import GateConfig
from detox_ray.config.gate import READY
from detox_ray.gate import judge_all
from detox_ray.report import ReportContent
from detox_ray.report.results import document
from detox_ray.storage.tables import COMPARISONS, METRICS

ENGLISH_AFTER = 0.19  # share of dpo's English completions that are English


def judged(unjudged: ReportContent, rules: GateConfig = READY) -> ReportContent:
    """Return the content with verdicts by the rules."""
    return replace(unjudged, verdicts=judge_all(document(unjudged), rules))


def release() -> ReportContent:
    """Return `content` with the third model and narrow intervals, judged by the ready rules."""
    plain = content()
    values = {(r["metric"], r["scorer"], r["convention"], r["model"], r["language"]): r for r in _rows(plain.metrics)}
    metrics = [row for row in _rows(plain.metrics) if row["model"] == "base"]
    comparisons: list[dict[str, Any]] = []
    for model in ("dpo", "detox"):
        for row in _rows(plain.comparisons):
            place = (row["metric"], row["scorer"], row["convention"])
            before, after = (values[(*place, name, row["language"])] for name in ("base", "detox"))
            if row["difference"] is None:
                metrics.append({**after, "model": model})
                comparisons.append({**row, "model": model})
                continue
            value = _value(model, row, before["value"], after["value"])
            half = 0.02 * max(value, before["value"])
            gap, ratio = value - before["value"], value / before["value"]
            metrics.append({**after, "model": model, "value": value, "ci_low": value - half, "ci_high": value + half})
            ends = {"ci_low": gap - half, "ci_high": gap + half, "ratio_low": ratio - 0.03, "ratio_high": ratio + 0.03}
            comparisons.append({**row, "model": model, "difference": gap, "ratio": ratio, **ends})
    whole = replace(
        plain,
        experiment="toy17",
        models=("base", "dpo", "detox"),
        compare=[("dpo", "base"), ("detox", "base")],
        metrics=pa.Table.from_pylist(metrics, schema=METRICS.columns),
        comparisons=pa.Table.from_pylist(comparisons, schema=COMPARISONS.columns),
        samples=(),
        training=(),
        notes=(),
    )
    return judged(whole)


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _value(model: str, row: Mapping[str, Any], before: float, after: float) -> float:
    """Return a tuned model's value: toxicity falls by more with dpo, and costs are small but for English."""
    if "toxic" in row["metric"]:
        return after if model == "detox" else after / 3
    lost = model == "dpo" and row["metric"] == "language_consistency"
    if lost and row["language"] == "en":
        return ENGLISH_AFTER
    if lost and row["language"] == "macro":
        return before - (before - ENGLISH_AFTER) / 17
    return before * (1.01 if row["metric"] == "perplexity" else 0.99)
