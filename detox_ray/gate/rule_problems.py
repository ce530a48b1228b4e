"""Problems of a gate's rules: metrics, bounds and languages that an experiment or a run does not have."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from detox_ray.config import GateConfig, Problem
from detox_ray.config.gate import MarginRule, ToxicityRule
from detox_ray.storage.metric_spec import Ideal, Metrics


def rule_problems(rules: GateConfig, metrics: Metrics, languages: Sequence[str]) -> Iterator[Problem]:
    """Yield the problems that can be seen without results."""
    if rules.toxicity:
        yield from toxicity_problems(rules.toxicity, metrics, languages)
    for number, margin in enumerate(rules.margins):
        yield from margin_problems(f"margins.{number}", margin, metrics, languages)


def toxicity_problems(rule: ToxicityRule, metrics: Metrics, languages: Sequence[str]) -> list[Problem]:
    """Return the problems of the toxicity rule."""
    known = [
        metric.name
        for metric in metrics.descriptions
        if metric.kind == "toxicity" and metric.spread_of is None and metric.direction == "lower"
    ]
    problems = unknown("toxicity.metric", rule.metric, known)
    if not isinstance(rule.languages, str) and rule.languages > len(languages):
        limit = f"must not be more than the run's {len(languages)} languages"
        problems.append(Problem("toxicity.languages", rule.languages, limit))
    return problems


def margin_problems(field: str, rule: MarginRule, metrics: Metrics, languages: Sequence[str]) -> list[Problem]:
    """Return the problems of one margin, which stands in ``field``."""
    problems = unknown(f"{field}.metric", rule.metric, metrics.names)
    if not problems:
        metric = metrics.of(rule.metric)
        has_ideal = isinstance(metric.direction, Ideal)
        if has_ideal != (rule.max_distance is not None):
            needed = "max_distance is needed" if has_ideal else "max_distance needs a metric with an ideal value"
            problems.append(Problem(field, rule.metric, f"{needed}: of this metric, {metric.direction_text}"))
    for code in rule.over if isinstance(rule.over, list) else ():
        problems += unknown(f"{field}.over", code, languages)
    return problems


def unknown(field: str, value: Any, known: Collection[str]) -> list[Problem]:
    """Return the problem that a name is not one of those known, if it is not."""
    return [] if value in known else [Problem(field, value, f"must be one of {', '.join(sorted(known))}")]
