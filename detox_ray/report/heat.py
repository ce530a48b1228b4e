"""Heat maps as tables: languages down, metrics or models across; each cell has a text and one of seven shades.

The colour only repeats the text, and its scale (blue is better, orange is worse) works with any colour vision. A change
is in per cent of the parent's value. For a share, such as language consistency, it is in percentage points, because per
cent of a share near 0 mean little. If a metric has an ideal value, closer is better.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from detox_ray.report.content import ReportContent
from detox_ray.report.forest import LEFT_OUT, SIGNIFICANT
from detox_ray.report.labels import (
    MACRO,
    language_name,
    number,
    signed_percent,
    signed_points,
    status_text,
)
from detox_ray.report.result_rows import MetricValues, Row, SeriesKey, interval_value, significant
from detox_ray.storage.metric_spec import ALL, Ideal
from detox_ray.storage.tables import OK

RELATIVE = (0.02, 0.10, 0.30)  # the shade becomes stronger at each of these sizes
POINTS = (0.01, 0.05, 0.15)  # the same for percentage points, as shares
SEQUENTIAL = 5  # number of shades for plain values


class HeatColumn(NamedTuple):
    short: str
    full: str


class HeatCell(NamedTuple):
    text: str
    shade: str  # "good3" … "good1", "even", "bad1" … "bad3"; "v0" … "v4" for plain values; "" without a value
    spoken: str  # a remark for screen readers


class HeatRow(NamedTuple):
    name: str  # with a dagger if it is left out of the mean
    macro: bool
    cells: list[HeatCell]


class Heat(NamedTuple):
    columns: list[HeatColumn]
    rows: list[HeatRow]


def change_heat(content: ReportContent, series: Mapping[SeriesKey, Sequence[Row]], values: MetricValues) -> Heat | None:
    """Return the change of each metric in each language.

    Toxicity by other scorers than the primary one, and parts of metrics, are not shown.
    """
    shown = {
        key: {row["language"]: row for row in rows}
        for key, rows in series.items()
        if not values.by_other_scorer(key, content.primary) and key.part == ALL
    }
    if not shown:
        return None
    columns = [HeatColumn(_short(key, shown, values), values.title(key)) for key in shown]
    headline = shown.get(values.headline(content.primary, content.convention), {})
    rows = []
    for language in (MACRO, *sorted(content.languages, key=language_name)):
        cells = [
            _change(key, by_language.get(language), values, content.confidence) for key, by_language in shown.items()
        ]
        outside = language in headline and not headline[language]["in_macro"]
        name = "Mean" if language == MACRO else language_name(language)
        rows.append(HeatRow(f"{name}\u00a0{LEFT_OUT}" if outside else name, language == MACRO, cells))
    return Heat(columns, rows)


def value_heat(
    series: SeriesKey, decimals: int, languages: Sequence[str], models: Sequence[tuple[str, MetricValues, str]]
) -> Heat:
    """Return the values of one metric in each language for several models.

    Args:
        series: The metric, with its scorer and convention.
        decimals: Decimals of the numbers.
        languages: The languages, in order.
        models: For each model, its shown name, the values of its run, and its name there.
    """
    grid = [[values.of(series, model, language) for _, values, model in models] for language in (MACRO, *languages)]
    kept = [value.value for row in grid for cell in row if (value := interval_value(cell)) is not None]
    low, high = min(kept, default=0.0), max(kept, default=1.0)

    def cell(row: Row | None) -> HeatCell:
        value = interval_value(row)
        if value is None:
            reason = status_text("not_asked" if row is None else row["status"])
            return HeatCell("–", "", reason)
        shade = min(SEQUENTIAL - 1, int(SEQUENTIAL * (value.value - low) / (high - low))) if high > low else 0
        outside = row is not None and not row["in_macro"]
        return HeatCell(number(value.value, decimals) + (f"\u00a0{LEFT_OUT}" if outside else ""), f"v{shade}", "")

    rows = [
        HeatRow(
            "Mean" if language == MACRO else language_name(language), language == MACRO, [cell(row) for row in line]
        )
        for language, line in zip((MACRO, *languages), grid, strict=True)
    ]
    return Heat([HeatColumn(name, name) for name, _, _ in models], rows)


def _short(series: SeriesKey, shown: Iterable[SeriesKey], values: MetricValues) -> str:
    """Return the metric's short title, with the scorer if another column has the same title."""
    metric = values.describe(series)
    alone = sum(other.metric == series.metric for other in shown) == 1 or metric.scorer is not None
    return metric.short if alone else f"{metric.short}, {series.scorer}"


def _change(series: SeriesKey, row: Row | None, values: MetricValues, confidence: float) -> HeatCell:
    if row is None:
        return HeatCell("–", "", status_text("not_asked"))
    if row["status"] != OK or row["difference"] is None:
        return HeatCell("–", "", status_text(row["status"]))
    metric = values.describe(series)
    if metric.change == "points":
        size, text, steps = row["difference"], signed_points(row["difference"]), POINTS
    elif row["ratio"] is None:
        return HeatCell("–", "", "the value before is 0")
    else:
        size, text, steps = row["ratio"] - 1, signed_percent(row["ratio"] - 1), RELATIVE
    if isinstance(metric.direction, Ideal):
        before, after = (side["value"] for side in values.sides(row))
        loss = metric.loss(before, after)
        size = loss if metric.change == "points" or before == 0 else loss / abs(before)
    else:
        loss = metric.loss(0.0, size)
    level = sum(abs(size) >= step for step in steps)
    shade = "even" if not level else f"{'good' if loss < 0 else 'bad'}{level}"
    if significant(row, confidence):
        return HeatCell(f"{text}\u00a0{SIGNIFICANT}", shade, "significant")
    return HeatCell(text, shade, "")
