"""The page's section about one tuned model: headline, tables and figures, as words and formatted numbers."""

from collections.abc import Sequence
from typing import NamedTuple

from detox_ray.report.content import ReportContent
from detox_ray.report.forest import ForestRow, ordered
from detox_ray.report.headline import Headline, cost, headline
from detox_ray.report.heat import Heat, change_heat
from detox_ray.report.labels import KINDS, MACRO, language_name, number, p_value, status_text
from detox_ray.report.number_cells import Cell, change_cell, difference_cell, value_cell
from detox_ray.report.result_rows import MetricValues, Row, SeriesKey, by_series, interval_value, p_of, significant
from detox_ray.report.seeds import SeedTable, seed_table
from detox_ray.report.shown_models import shown_pairs
from detox_ray.storage.tables import OK


class TableRow(NamedTuple):
    code: str
    name: str
    in_macro: bool
    share: str  # of the corpus
    before: Cell
    after: Cell
    difference: Cell
    change: Cell  # relative
    p_value: str
    significant: bool
    detectable: str
    n: int
    between: str  # standard deviation of the difference between seeds; "" for one model
    problem: str  # why there is no comparison; "" if there is one
    languages: tuple[int, int] | None  # in the means before and after, if these are not those of the difference


class MetricTable(NamedTuple):
    """One series of comparisons, ready for the page."""

    series: SeriesKey
    title: str
    meaning: str
    headline: bool
    rows: list[TableRow]


class KindTables(NamedTuple):
    """The tables of one kind of metrics."""

    heading: str
    tables: list[MetricTable]


class PairSection(NamedTuple):
    """One tuned model against its parent."""

    model: str
    parent: str
    seeds: SeedTable | None  # None for a single model
    headline: Headline | None  # None if the primary scorer gave no macro value
    forest: list[ForestRow]  # in the order of the plot; empty if there is nothing to draw
    heat: Heat | None
    primary: list[MetricTable]  # toxicity by the primary scorer
    cost: tuple[str, str] | None  # title and change of the first cost metric
    kinds: list[KindTables]  # everything except toxicity
    others: list[MetricTable]  # toxicity by other scorers
    beside: dict[str, list[MetricTable]]  # under other conventions than the run's, by convention


def pair_sections(content: ReportContent) -> list[PairSection]:
    """Return one section per compared pair, in the order of ``compare``. Seeds have one section, about their mean."""
    values = MetricValues(content.metrics.to_pylist(), content.described)
    rows = content.comparisons.to_pylist()
    return [_pair(content, model, parent, values, rows) for model, parent in shown_pairs(content)]


def _pair(content: ReportContent, model: str, parent: str, values: MetricValues, rows: Sequence[Row]) -> PairSection:
    series = by_series(rows, values.metrics, model, parent, content.primary, content.convention)
    of_convention = {key: group for key, group in series.items() if key.convention == content.convention}
    tables = {key: metric_table(content, key, group, values) for key, group in series.items()}
    headline_rows = series.get(values.headline(content.primary, content.convention), [])
    costs = [key for key in of_convention if values.describe(key).kind == "cost" and values.describe(key).tradeoff]
    kinds: dict[str, list[MetricTable]] = {}
    beside: dict[str, list[MetricTable]] = {}
    for key, table in tables.items():
        kind = values.describe(key).kind
        if key not in of_convention:
            beside.setdefault(key.convention, []).append(table)
        elif kind != "toxicity":
            kinds.setdefault(KINDS[kind], []).append(table)
    return PairSection(
        model,
        parent,
        seed_table(content, model, list(series), values),
        headline(content, headline_rows, values),
        _forest(content, headline_rows, values),
        change_heat(content, of_convention, values),
        [tables[k] for k in of_convention if values.describe(k).kind == "toxicity" and k.scorer == content.primary],
        (values.title(costs[0]), cost(content, series[costs[0]], values)) if costs else None,
        [KindTables(heading, kinds[heading]) for heading in KINDS.values() if heading in kinds],
        [tables[k] for k in of_convention if values.by_other_scorer(k, content.primary)],
        beside,
    )


def metric_table(content: ReportContent, series: SeriesKey, rows: Sequence[Row], values: MetricValues) -> MetricTable:
    """Return the table of one series of comparisons: the macro mean first, then languages by name."""
    metric = values.describe(series)
    table_rows = []
    for row in sorted(rows, key=lambda row: (row["language"] != MACRO, language_name(row["language"]))):
        before, after = values.sides(row)
        share = (content.corpus_share or {}).get(row["language"])
        table_rows.append(
            TableRow(
                row["language"],
                language_name(row["language"]),
                row["in_macro"],
                "" if share is None else f"{100 * share:.1f} %",
                value_cell(before, metric),
                value_cell(after, metric),
                difference_cell(row, metric),
                change_cell(row, before, after, metric),
                p_value(p_of(row)),
                significant(row, content.confidence),
                number(row["detectable"], metric.decimals),
                row["n"],
                "" if row["seed_std"] is None else f"± {number(row['seed_std'], metric.decimals)}",
                "" if row["status"] == OK else status_text(row["status"]),
                None if _same_languages(row, before, after) else (before["n"], after["n"]),
            )
        )
    meaning = f"{metric.meaning}; {metric.direction_text}"
    return MetricTable(series, values.title(series), meaning, metric.headline, table_rows)


def _same_languages(row: Row, before: Row, after: Row) -> bool:
    """Return whether a difference and its two sides are of the same languages; only those of a mean can differ."""
    return row["language"] != MACRO or before["n"] == after["n"] == row["n"]


def _forest(content: ReportContent, rows: Sequence[Row], values: MetricValues) -> list[ForestRow]:
    """Return the rows of the forest plot of the headline metric, in order."""

    def forest_row(row: Row) -> ForestRow:
        sides = values.sides(row)
        reason = "" if row["status"] == OK else status_text(row["status"])
        name = "Mean" if row["language"] == MACRO else language_name(row["language"])
        before, after = (None, None) if reason else (interval_value(sides[0]), interval_value(sides[1]))
        return ForestRow(name, before, after, reason, significant(row, content.confidence), row["in_macro"])

    if all(row["status"] != OK for row in rows):
        return []
    macro = next(row for row in rows if row["language"] == MACRO)
    return ordered(forest_row(macro), [forest_row(row) for row in rows if row is not macro])
