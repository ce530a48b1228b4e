"""From tables to what the page says: one comparison's headline, tables and figure, in words and formatted numbers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from detox_ray.languages import LANGUAGES
from detox_ray.report.content import ReportContent
from detox_ray.report.figure import Figure, FigureRow, Reading, change, place, signed_percent
from detox_ray.report.results import comparison_rows
from detox_ray.report.words import HEADLINE, PERPLEXITY, interval, metric_words, number, p_value, status_words
from detox_ray.tables import OK

MACRO = "macro"
Row = Mapping[str, Any]


class Cell(NamedTuple):
    """A number and its interval, as text."""

    value: str
    interval: str


class TableRow(NamedTuple):
    code: str
    name: str
    share: str  # of the corpus
    before: Cell
    after: Cell
    difference: Cell
    change: str
    p_value: str
    detectable: str
    n: int
    problem: str  # why there is no comparison; "" where there is one


class MetricTable(NamedTuple):
    metric: str
    scorer: str
    title: str
    meaning: str
    rows: list[TableRow]


class Headline(NamedTuple):
    """The macro toxicity before and after and what may be said about it."""

    before: Cell
    after: Cell
    change: str
    difference: Cell
    languages: int
    verdict: str
    caveat: str  # before and after are means of other languages than the difference; "" where they are not
    left_out: list[tuple[str, str]]  # (reason, languages)


class PairView(NamedTuple):
    """One tuned model against its parent."""

    model: str
    parent: str
    headline: Headline | None  # None where the primary scorer gave no macro value
    figure: Figure | None
    primary: list[MetricTable]  # toxicity by the primary scorer
    perplexity: MetricTable | None
    perplexity_says: str
    others: list[MetricTable]


def language_name(code: str) -> str:
    return "Mean of languages" if code == MACRO else LANGUAGES[code].name


def pair_views(content: ReportContent) -> list[PairView]:
    """One view per compared pair, in the order of ``compare``."""
    values = {(r["metric"], r["scorer"], r["model"], r["language"]): r for r in content.metrics.to_pylist()}
    rows = comparison_rows(content)
    return [_pair(content, model, parent, values, rows) for model, parent in content.compare]


def _pair(content: ReportContent, model: str, parent: str, values: Mapping[Any, Row], rows: Sequence[Row]) -> PairView:
    series: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if (row["model"], row["parent"]) == (model, parent):
            series.setdefault((row["metric"], row["scorer"]), []).append(row)
    tables = {key: _table(content, key, group, values) for key, group in series.items()}
    toxicity = [t for t in tables.values() if t.scorer == content.primary]
    toxicity.sort(key=lambda table: table.metric != HEADLINE)
    costs = [t for t in tables.values() if t.metric == PERPLEXITY]
    chief = series.get((HEADLINE, content.primary), [])
    return PairView(
        model,
        parent,
        _headline(content, chief, values),
        _figure(chief, values) if chief else None,
        toxicity,
        costs[0] if costs else None,
        _cost(content, series.get((PERPLEXITY, costs[0].scorer), []), values) if costs else "",
        [t for t in tables.values() if t not in toxicity and t not in costs],
    )


def _table(content: ReportContent, key: tuple[str, str], rows: Sequence[Row], values: Mapping[Any, Row]) -> MetricTable:
    metric, scorer = key
    words = metric_words(metric)
    d = words.decimals
    made = []
    for row in sorted(rows, key=lambda row: (row["language"] != MACRO, language_name(row["language"]))):
        before, after = _sides(row, values)
        share = (content.corpus_share or {}).get(row["language"])
        made.append(
            TableRow(
                row["language"],
                language_name(row["language"]),
                "" if share is None else f"{100 * share:.1f} %",
                Cell(number(before["value"], d), interval(before["ci_low"], before["ci_high"], d)),
                Cell(number(after["value"], d), interval(after["ci_low"], after["ci_high"], d)),
                _difference(row, d),
                change(_reading(before), _reading(after)),
                p_value(row["p_value"] if row["language"] == MACRO else row["p_corrected"]),
                number(row["detectable"], d),
                row["n"],
                "" if row["status"] == OK else status_words(row["status"]),
            )
        )
    return MetricTable(metric, scorer, words.title, words.meaning, made)


def _headline(content: ReportContent, rows: Sequence[Row], values: Mapping[Any, Row]) -> Headline | None:
    macro = next((row for row in rows if row["language"] == MACRO and row["status"] == OK), None)
    if macro is None:
        return None
    before, after = _sides(macro, values)
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row["status"] != OK:
            reasons.setdefault(status_words(row["status"]), []).append(language_name(row["language"]))
    return Headline(
        Cell(number(before["value"]), interval(before["ci_low"], before["ci_high"])),
        Cell(number(after["value"]), interval(after["ci_low"], after["ci_high"])),
        change(_reading(before), _reading(after)),
        _difference(macro, 3),
        macro["n"],
        _verdict(macro, content.confidence),
        ""
        if before["n"] == after["n"] == macro["n"]
        else f"Before is the mean of {before['n']} languages and after of {after['n']}; only the difference compares "
        "the same ones.",
        [(reason, ", ".join(names)) for reason, names in reasons.items()],
    )


def _verdict(row: Row, confidence: float) -> str:
    percent = f"{100 * confidence:g}\u00a0%"
    low, high = row["ci_low"], row["ci_high"]
    if low is None:
        return "With one prompt in a language there is no interval: nothing can be said about chance."
    span = f"The {percent} interval of the difference, {interval(low, high, signed=True)}"
    if low <= 0 <= high:
        return f"{span}, includes no change: this experiment does not show a difference."
    return f"{span}, excludes no change: toxicity {'fell' if high < 0 else 'rose'}."


def _cost(content: ReportContent, rows: Sequence[Row], values: Mapping[Any, Row]) -> str:
    """Relative change of mean perplexity, over all languages and over those that were not tuned on."""
    sides = {row["language"]: _sides(row, values) for row in rows if row["status"] == OK and row["language"] != MACRO}
    if not sides:
        return "perplexity of harmless text was not measured."

    def rise(languages: Sequence[str]) -> str:
        before, after = (sum(sides[code][i]["value"] for code in languages) for i in (0, 1))
        return f"{before / len(languages):.2f} → {after / len(languages):.2f} ({signed_percent(after / before - 1)})"

    text = f"perplexity of harmless text, mean of {len(sides)} languages: {rise(list(sides))}"
    others = [code for code in sides if code not in content.tuning_languages]
    if content.tuning_languages and others and len(others) < len(sides):
        tuned = ", ".join(language_name(code) for code in content.tuning_languages)
        text += f"; without {tuned}, which was tuned on: {rise(others)}"
    return text + "."


def _figure(rows: Sequence[Row], values: Mapping[Any, Row]) -> Figure:
    def figure_row(row: Row) -> FigureRow:
        before, after = _sides(row, values)
        reason = "" if row["status"] == OK else status_words(row["status"])
        name = "Mean" if row["language"] == MACRO else language_name(row["language"])
        return FigureRow(name, *((None, None) if reason else (_reading(before), _reading(after))), reason)

    macro = next(row for row in rows if row["language"] == MACRO)
    return place(figure_row(macro), [figure_row(row) for row in rows if row is not macro])


def _sides(row: Row, values: Mapping[Any, Row]) -> tuple[Row, Row]:
    """The parent's and the model's own rows of the metrics table."""
    place = (row["metric"], row["scorer"])
    return values[(*place, row["parent"], row["language"])], values[(*place, row["model"], row["language"])]


def _reading(row: Row) -> Reading | None:
    return None if row["value"] is None else Reading(row["value"], row["ci_low"], row["ci_high"])


def _difference(row: Row, decimals: int) -> Cell:
    bounds = interval(row["ci_low"], row["ci_high"], decimals, signed=True)
    return Cell(number(row["difference"], decimals, signed=True), bounds)
