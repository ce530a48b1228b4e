"""Heat maps as tables: languages down, metrics (or models) across, a number in words and one of seven shades each.

Colour only repeats what the cell says, and its scale (blue: better, orange: worse) is told apart with any colour
vision. A change is relative, in per cent of the parent's value; of a share such as language consistency it is in
percentage points, since per cent of a share near 0 means little.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from detox_ray.report.content import ReportContent
from detox_ray.report.forest import LEFT_OUT, SIGNIFICANT
from detox_ray.report.rows import Row, Series, Values, reading, significant
from detox_ray.report.words import (
    HEADLINE,
    HELD_OUT,
    MACRO,
    PERPLEXITY,
    by,
    language_name,
    metric_words,
    number,
    signed_percent,
    signed_points,
    status_words,
)
from detox_ray.storage.tables import OK

RELATIVE = (0.02, 0.10, 0.30)  # from these sizes on, one shade stronger
POINTS = (0.01, 0.05, 0.15)
SEQUENTIAL = 5  # shades of plain values


class HeatColumn(NamedTuple):
    short: str
    full: str


class HeatCell(NamedTuple):
    text: str
    shade: str  # "good3" … "good1", "even", "bad1" … "bad3"; "v0" … "v4" for plain values; "" without a value
    spoken: str  # what the text does not say


class HeatRow(NamedTuple):
    name: str  # a dagger after it where it is left out of the mean
    macro: bool
    cells: list[HeatCell]


class Heat(NamedTuple):
    columns: list[HeatColumn]
    rows: list[HeatRow]


def change_heat(content: ReportContent, series: Mapping[Series, Sequence[Row]]) -> Heat | None:
    """How much each metric changed in each language. Toxicity by the primary scorer only."""
    toxicity = {key.scorer for key in series if key.metric == HEADLINE} - {content.primary}
    shown = {key: {row["language"]: row for row in rows} for key, rows in series.items() if key.scorer not in toxicity}
    if not shown:
        return None
    columns = [HeatColumn(_short(key), by(key.metric, key.scorer)) for key in shown]
    chief = shown.get(Series(HEADLINE, content.primary, content.convention), {})
    rows = []
    for language in (MACRO, *sorted(content.languages, key=language_name)):
        cells = [_change(key, found.get(language), content.confidence) for key, found in shown.items()]
        outside = language in chief and not chief[language]["in_macro"]
        name = "Mean" if language == MACRO else language_name(language)
        rows.append(HeatRow(f"{name}\u00a0{LEFT_OUT}" if outside else name, language == MACRO, cells))
    return Heat(columns, rows)


def value_heat(series: Series, languages: Sequence[str], models: Sequence[tuple[str, Values, str]]) -> Heat:
    """One metric's values per language for several models: (name, its run's values, its name in the run) each."""
    words = metric_words(series.metric)
    found = [[values.of(series, model, language) for _, values, model in models] for language in (MACRO, *languages)]
    kept = [value.value for row in found for cell in row if (value := reading(cell)) is not None]
    low, high = min(kept, default=0.0), max(kept, default=1.0)

    def cell(row: Row | None) -> HeatCell:
        value = reading(row)
        if value is None:
            reason = status_words("not_asked" if row is None else row["status"])
            return HeatCell("–", "", reason)
        shade = min(SEQUENTIAL - 1, int(SEQUENTIAL * (value.value - low) / (high - low))) if high > low else 0
        outside = row is not None and not row["in_macro"]
        return HeatCell(number(value.value, words.decimals) + (f"\u00a0{LEFT_OUT}" if outside else ""), f"v{shade}", "")

    rows = [
        HeatRow(
            "Mean" if language == MACRO else language_name(language), language == MACRO, [cell(row) for row in line]
        )
        for language, line in zip((MACRO, *languages), found, strict=True)
    ]
    return Heat([HeatColumn(name, name) for name, _, _ in models], rows)


def _short(series: Series) -> str:
    short = metric_words(series.metric).short
    if series.metric != PERPLEXITY:
        return short
    return f"{short}, held-out" if series.scorer == HELD_OUT else f"{short}, {series.scorer}"


def _change(series: Series, row: Row | None, confidence: float) -> HeatCell:
    if row is None:
        return HeatCell("–", "", status_words("not_asked"))
    if row["status"] != OK or row["difference"] is None:
        return HeatCell("–", "", status_words(row["status"]))
    words = metric_words(series.metric)
    if words.points:
        size, text, steps = row["difference"], signed_points(row["difference"]), POINTS
    elif row["ratio"] is None:
        return HeatCell("–", "", "the value before is 0")
    else:
        size, text, steps = row["ratio"] - 1, signed_percent(row["ratio"] - 1), RELATIVE
    level = sum(abs(size) >= step for step in steps)
    better = (size < 0) == (words.better == "lower")
    shade = "even" if not level else f"{'good' if better else 'bad'}{level}"
    if significant(row, confidence):
        return HeatCell(f"{text}\u00a0{SIGNIFICANT}", shade, "significant")
    return HeatCell(text, shade, "")
