"""Tables in the form in which a paper's scripts print them: for each language, means with standard deviations, and
medians with quartiles.

They exist only under a convention that shows spreads (``paper``). The file of metrics has the same numbers, each with
its interval.
"""

from collections.abc import Sequence
from typing import NamedTuple

from detox_ray.report.content import ReportContent
from detox_ray.report.labels import language_name, number
from detox_ray.report.published import LI_METRICS
from detox_ray.report.result_rows import MetricValues, SeriesKey
from detox_ray.report.shown_models import shown_models
from detox_ray.storage.metric_spec import SpreadKind


class PrintedRow(NamedTuple):
    language: str
    cells: list[str]


class PrintedTable(NamedTuple):
    model: str
    columns: list[str]
    rows: list[PrintedRow]


def printed_tables(content: ReportContent) -> list[PrintedTable]:
    """Return a table for each model; no table if the convention shows no spreads."""
    values = MetricValues(content.metrics.to_pylist(), content.described)
    of_convention = [
        s for s in values.series(content.primary, content.convention) if s.convention == content.convention
    ]
    # The scripts print toxicity, perplexity and distinct n-grams: metrics that the paper published, with spreads.
    measured = {s.scorer for s in of_convention if values.describe(s).spread_of}
    shown = [s for s in of_convention if s.scorer in measured and s.metric in LI_METRICS]
    if not shown:
        return []
    languages = sorted(content.languages, key=language_name)
    return [
        PrintedTable(
            model,
            [values.title(s) for s in shown],
            [PrintedRow(language_name(code), _cells(shown, values, model, code)) for code in languages],
        )
        for model in shown_models(content)
    ]


def _cells(shown: Sequence[SeriesKey], values: MetricValues, model: str, language: str) -> list[str]:
    return [_cell(series, values, model, language) for series in shown]


def _cell(series: SeriesKey, values: MetricValues, model: str, language: str) -> str:
    """Format a value with its spread, as "0.412 ± 0.103" or "18.74 (12.10 to 31.55)", or alone."""
    decimals = values.describe(series).decimals

    def spread(kind: SpreadKind) -> float | None:
        name = values.metrics.spread(series.metric, series.scorer, kind)
        row = values.of(series._replace(metric=name), model, language) if name is not None else None
        value: float | None = None if row is None else row["value"]
        return value

    row = values.of(series, model, language)
    text = number(None if row is None else row["value"], decimals)
    deviation, low, high = spread("standard deviation"), spread("first quartile"), spread("third quartile")
    if deviation is not None:
        text += f" ± {number(deviation, decimals)}"
    if low is not None and high is not None:
        text += f" ({number(low, decimals)} to {number(high, decimals)})"
    return text
