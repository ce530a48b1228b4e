"""The first screen: which model to release and why, how much it improved in each language, and the cost.

It shows the gate's verdict on each tuned model, a figure of the headline metric per language for all models, and a
table of the results of the gate's rules. An experiment without a tuned model has no first screen.
"""

from collections.abc import Sequence
from typing import NamedTuple

from detox_ray.gate import FAIL, INCONCLUSIVE, PASS, Verdict
from detox_ray.report.content import ReportContent
from detox_ray.report.forest import LEFT_OUT, ForestRow, change, ordered
from detox_ray.report.interval_value import IntervalValue
from detox_ray.report.labels import MACRO, language_name, number, status_text
from detox_ray.report.release import Recommendation, recommendation
from detox_ray.report.result_rows import MetricValues, interval_value
from detox_ray.storage.tables import OK

PARENT = "parent"  # the tone of a model that was not tuned; the tone of a tuned model is its verdict
WORDS = {PASS: "passes", FAIL: "fails", INCONCLUSIVE: "inconclusive"}
SIGNS = {PASS: "✓", FAIL: "✗", INCONCLUSIVE: "?"}  # readable without colour
SHAPES = ("●", "■", "▲", "◆")  # marks of tuned models, in the figure and beside their names
MOST = len(SHAPES)  # tuned models in the figure and the table


class DotModel(NamedTuple):
    """One model's values in the figure."""

    name: str
    parent: str | None  # None: not tuned
    tone: str
    shape: str
    values: list[IntervalValue | None]  # one per row


class Dots(NamedTuple):
    """The figure: a row for the mean over languages and for each language, with all models in it."""

    title: str
    axis: str
    names: list[str]
    reasons: list[str]  # why a row has no value; "" if it has one
    models: list[DotModel]


class VerdictLine(NamedTuple):
    """One tuned model's verdict."""

    model: str
    parent: str
    verdict: str
    sign: str
    word: str
    shape: str  # "" if the figure does not show it
    before: str
    after: str
    change: str
    reason: str
    seeds: int
    released: bool


class RuleCell(NamedTuple):
    verdict: str
    sign: str
    word: str
    values: str
    change: str


class RuleRow(NamedTuple):
    """One rule of the gate and its result for each shown model."""

    title: str
    bound: str
    scope: str
    cells: list[RuleCell]


class Overview(NamedTuple):
    recommendation: Recommendation
    lines: list[VerdictLine]
    dots: Dots | None  # None if nothing has a value
    shown: list[Verdict]  # verdicts on the models in the figure and the table
    rules: list[RuleRow]


def overview(content: ReportContent) -> Overview | None:
    """Return the content of the first screen; None without a tuned model."""
    advice = recommendation(content)
    if advice is None:
        return None
    values = MetricValues(content.metrics.to_pylist(), content.described)
    verdicts = sorted(content.verdicts, key=lambda verdict: verdict.model != advice.model)
    shown = _shown(content, values, verdicts)
    return Overview(
        advice,
        [_line(content, values, verdict, shown, advice.model) for verdict in verdicts],
        _dots(content, values, shown),
        shown,
        _rules(shown),
    )


def _mean(content: ReportContent, values: MetricValues, model: str) -> IntervalValue | None:
    return interval_value(values.of(values.headline(content.primary, content.convention), model, MACRO))


def _shown(content: ReportContent, values: MetricValues, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts that fit into the figure and the table: the first one, and those with the lowest means."""

    def mean(verdict: Verdict) -> float:
        value = _mean(content, values, verdict.model)
        return float("inf") if value is None else value.value

    kept = [*verdicts[:1], *sorted(verdicts[1:], key=mean)[: MOST - 1]]
    return [verdict for verdict in verdicts if verdict in kept]


def _line(
    content: ReportContent, values: MetricValues, verdict: Verdict, shown: Sequence[Verdict], released: str | None
) -> VerdictLine:
    before, after = (_mean(content, values, model) for model in (verdict.parent, verdict.model))
    return VerdictLine(
        verdict.model,
        verdict.parent,
        verdict.verdict,
        SIGNS[verdict.verdict],
        WORDS[verdict.verdict],
        SHAPES[shown.index(verdict)] if verdict in shown else "",
        number(before.value if before else None),
        number(after.value if after else None),
        change(before, after),
        verdict.reason,
        len(content.seed_groups.get(verdict.model, [verdict.model])),
        verdict.model == released,
    )


def _rules(shown: Sequence[Verdict]) -> list[RuleRow]:
    """Return the table of rules (rows) and shown models (columns). All verdicts have the same rules."""
    return [
        RuleRow(
            checks[0].title,
            checks[0].bound,
            checks[0].scope,
            [RuleCell(c.verdict, SIGNS[c.verdict], WORDS[c.verdict], c.result.values, c.result.change) for c in checks],
        )
        for checks in zip(*(verdict.checks for verdict in shown), strict=True)
    ]


def _dots(content: ReportContent, values: MetricValues, shown: Sequence[Verdict]) -> Dots | None:
    """Return the figure, with languages sorted by how much the first shown model lowers the headline value."""
    series = values.headline(content.primary, content.convention)
    first = shown[0]

    def forest_row(language: str) -> ForestRow:
        sides = [values.of(series, model, language) for model in (first.parent, first.model)]
        reasons = [row["status"] if row else "not_asked" for row in sides if row is None or row["status"] != OK]
        before, after = (None, None) if reasons else map(interval_value, sides)
        return ForestRow(language, before, after, status_text(reasons[0]) if reasons else "")

    rows = ordered(forest_row(MACRO), [forest_row(code) for code in content.languages])
    if all(row.after is None for row in rows):
        return None

    def name(language: str) -> str:
        sides = values.of(series, first.model, language)
        outside = sides is not None and not sides["in_macro"]
        plain = "Mean" if language == MACRO else language_name(language)
        return f"{plain}\u00a0{LEFT_OUT}" if outside else plain

    def model(name: str, parent: str | None, tone: str, shape: str) -> DotModel:
        return DotModel(name, parent, tone, shape, [interval_value(values.of(series, name, row.name)) for row in rows])

    tuned = {verdict.model for verdict in shown}
    parents = list(dict.fromkeys(verdict.parent for verdict in shown if verdict.parent not in tuned))
    metric = content.described.of(content.described.headline)
    return Dots(
        f"{metric.title} per language",
        f"{metric.title.lower()} by {content.primary} ({metric.direction_text})",
        [name(row.name) for row in rows],
        [row.reason for row in rows],
        [
            *(model(parent, None, PARENT, "○") for parent in parents),
            *(
                model(verdict.model, verdict.parent, verdict.verdict, shape)
                for verdict, shape in zip(shown, SHAPES, strict=False)
            ),
        ],
    )
