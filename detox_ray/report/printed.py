"""What a paper's scripts print for each language, as they print it: means with deviations, medians with quartiles.

Only for a convention that shows spreads (``paper``). The metrics' file has the same numbers, each with its interval.
"""

from collections.abc import Sequence
from typing import NamedTuple

from detox_ray.report.content import ReportContent
from detox_ray.report.rows import Series, Values
from detox_ray.report.shown import shown_models
from detox_ray.report.words import NOVELTY, by, is_spread, language_name, metric_words, number


class PrintedRow(NamedTuple):
    language: str
    cells: list[str]


class PrintedTable(NamedTuple):
    model: str
    columns: list[str]
    rows: list[PrintedRow]


def printed_tables(content: ReportContent) -> list[PrintedTable]:
    """A table for each model; none if the convention shows no spreads."""
    values = Values(content.metrics.to_pylist())
    own = [s for s in values.series(content.primary, content.convention) if s.convention == content.convention]
    # the scripts measure toxicity, perplexity under an evaluator, and dist-n: what spreads, and toxicity probability
    measured = {s.scorer for s in own if is_spread(s.metric)}
    shown = [s for s in own if s.scorer in measured and not is_spread(s.metric) and s.metric != NOVELTY]
    if not shown:
        return []
    languages = sorted(content.languages, key=language_name)
    return [
        PrintedTable(
            model,
            [by(s.metric, s.scorer) for s in shown],
            [PrintedRow(language_name(code), _cells(shown, values, model, code)) for code in languages],
        )
        for model in shown_models(content)
    ]


def _cells(shown: Sequence[Series], values: Values, model: str, language: str) -> list[str]:
    return [_cell(series, values, model, language) for series in shown]


def _cell(series: Series, values: Values, model: str, language: str) -> str:
    """ ".412 ± .103", "18.74 (12.10 to 31.55)", or the value alone."""
    decimals = metric_words(series.metric).decimals

    def value(ending: str) -> float | None:
        row = values.of(series._replace(metric=series.metric + ending), model, language)
        found: float | None = None if row is None else row["value"]
        return found

    text, deviation, low, high = number(value(""), decimals), value("_std"), value("_q1"), value("_q3")
    if deviation is not None:
        text += f" ± {number(deviation, decimals)}"
    if low is not None and high is not None:
        text += f" ({number(low, decimals)} to {number(high, decimals)})"
    return text
