"""The part of a run's results that a spec is about."""

from collections.abc import Mapping, Sequence
from typing import Any

from detox_ray.config import ConfigError, Problem
from detox_ray.gate.finding import Measured, Row
from detox_ray.gate.rule_problems import margin_problems, toxicity_problems, unknown
from detox_ray.gate.spec import Spec
from detox_ray.storage.metric_spec import ALL as WHOLE
from detox_ray.storage.metric_spec import Metrics


class RunResults:
    """One comparison of a parsed ``results.json``. Raises ConfigError if the run does not have it."""

    def __init__(self, results: Mapping[str, Any], spec: Spec):
        if "metrics_described" not in results:
            raise ConfigError([Problem("RUN", None, "its results.json is of an older version; make the report again")])
        self.spec = spec
        self.model, self.parent = _comparison(results, spec)
        self.languages: list[str] = results["languages"]
        self._confidence: float = results["confidence"]
        self._primary: str = results["primary_scorer"]
        self._scorer = spec.scorer or self._primary
        self._metrics = Metrics.from_rows(results["metrics_described"])
        pair = (self.model, self.parent)
        rows_of_pair = [row for row in results["comparisons"] if (row["model"], row["parent"]) == pair]
        self._conventions = {row["convention"] for row in rows_of_pair}
        self._comparisons = _of_convention(rows_of_pair, results["convention"], or_own=True)
        rows = rows_of_pair if spec.convention else self._comparisons
        self._toxicity = _of_convention(rows, spec.convention or results["convention"])
        self._values: dict[str, list[Row]] = {
            name: [row for row in results["metrics"] if row["model"] == name] for name in pair
        }
        self._own = _of_convention(self._values[self.model], results["convention"], or_own=True)

    def toxicity_problems(self) -> list[Problem]:
        """Return what in the toxicity rule the run does not have."""
        rule = self.spec.toxicity
        assert rule is not None
        problems = toxicity_problems(rule, self._metrics, self.languages)
        rows = [row for row in self._toxicity if (row["metric"], row["part"]) == (rule.metric, WHOLE)]
        if self._conventions and not self._toxicity:
            problems += unknown("convention", self.spec.convention, self._conventions)
        elif rows and not problems:
            problems += unknown("scorer", self._scorer, {row["scorer"] for row in rows})
        return problems

    def margin_problems(self, number: int) -> list[Problem]:
        """Return what in a margin the run does not have."""
        rule = self.spec.margins[number]
        problems = margin_problems(f"margins.{number}", rule, self._metrics, self.languages)
        scorers = self._scorers(number)
        if not problems and scorers and (rule.scorer or (len(scorers) > 1 and self._scorer not in scorers)):
            problems += unknown(f"margins.{number}.scorer", rule.scorer, scorers)
        return problems

    def toxicity(self, metric: str) -> Measured:
        """Return what was measured of toxicity, by the spec's scorer and under its convention."""
        rows = [row for row in self._toxicity if row["scorer"] == self._scorer]
        return self._measured(rows, metric, self._scorer, WHOLE)

    def margin(self, number: int) -> Measured:
        """Return what was measured of a margin's metric."""
        rule = self.spec.margins[number]
        scorers = self._scorers(number)
        scorer = rule.scorer or (self._scorer if self._scorer in scorers else next(iter(scorers), ""))
        rows = self._own if rule.max_distance is not None else self._comparisons
        return self._measured([row for row in rows if row["scorer"] == scorer], rule.metric, scorer, rule.part)

    def _scorers(self, number: int) -> list[str]:
        rule = self.spec.margins[number]
        rows = self._own if rule.max_distance is not None else self._comparisons
        return list(dict.fromkeys(row["scorer"] for row in rows if row["metric"] == rule.metric))

    def _measured(self, rows: Sequence[Row], metric: str, scorer: str, part: str) -> Measured:
        by_language = {row["language"]: row for row in rows if (row["metric"], row["part"]) == (metric, part)}
        convention = next((row["convention"] for row in by_language.values()), None)

        def values(model: str) -> dict[str, float | None]:
            place = (metric, scorer, part, convention)
            return {
                row["language"]: row["value"]
                for row in self._values[model]
                if (row["metric"], row["scorer"], row["part"], row["convention"]) == place
            }

        return Measured(
            self._metrics.of(metric, scorer or None),
            self._title(metric, scorer, part),
            by_language,
            values(self.parent),
            values(self.model),
            self._confidence,
        )

    def _title(self, metric: str, scorer: str, part: str) -> str:
        """Return a series' title, with its scorer only if that is neither the primary one nor the metric's only one."""
        description = self._metrics.of(metric, scorer or None)
        scorers = {row["scorer"] for row in self._values[self.model] if row["metric"] == metric}
        plain = scorer == self._primary or len(scorers | {scorer}) == 1
        if plain and "{scorer}" in description.series_title:
            return description.title if part == WHOLE else f"{description.title}, {part}"
        return self._metrics.title(metric, scorer, part)


def _comparison(results: Mapping[str, Any], spec: Spec) -> tuple[str, str]:
    """Return the model and the parent that a spec is about."""
    pairs: list[tuple[str, str]] = [(pair["model"], pair["parent"]) for pair in results["compare"]]
    wanted = (spec.comparison.model, spec.comparison.parent) if spec.comparison else None
    known = ", ".join(f"{model} against {parent}" for model, parent in pairs) or "none"
    if wanted is None and len(pairs) != 1:
        raise ConfigError([Problem("comparison", None, f"is required: this run's comparisons are {known}")])
    if wanted is not None and wanted not in pairs:
        raise ConfigError([Problem("comparison", " against ".join(wanted), f"must be one of {known}")])
    return wanted or pairs[0]


def _of_convention(rows: Sequence[Row], label: str, or_own: bool = False) -> list[Row]:
    """Return each series' rows with this label or, if it has none, with the label and the switches that were changed.

    Blocks have conventions of their own: one metric may have "corrected" and another only "corrected+ties=against".

    Args:
        rows: Rows of any series.
        label: A convention.
        or_own: Whether a series that has no such rows gives those of its own convention.
    """
    labels: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        labels.setdefault((row["metric"], row["scorer"]), set()).add(row["convention"])
    chosen = {series: _label(label, names, or_own) for series, names in labels.items()}
    return [row for row in rows if row["convention"] == chosen[row["metric"], row["scorer"]]]


def _label(label: str, names: set[str], or_own: bool) -> str | None:
    """Return the label among ``names`` that is this one, or this one with the fewest changed switches.

    Bias in questions also has rows without polarity, "corrected+diff_scale=rows+polarity=ignored", by which a model
    that follows every stereotype scores 0. They must not be judged in place of the run's own.
    """
    fitting = {name for name in names if name == label or name.startswith(f"{label}+")}
    if or_own and not fitting:
        fitting = names
    return min(fitting, key=lambda name: (name.count("+"), name), default=None)
