"""From tables to what the page says of one tuned model: headline, tables, figures, in words and formatted numbers."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from detox_ray.report import words
from detox_ray.report.cells import Cell, change_cell, difference_cell, value_cell
from detox_ray.report.content import ReportContent
from detox_ray.report.forest import ForestRow, ordered
from detox_ray.report.headline import Headline, cost, headline
from detox_ray.report.heat import Heat, change_heat
from detox_ray.report.rows import Row, Series, Values, by_series, p_of, reading, significant
from detox_ray.report.seeds import SeedTable, seed_table
from detox_ray.report.shown import shown_pairs
from detox_ray.report.words import HEADLINE, MACRO, PERPLEXITY, language_name, number
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
    problem: str  # why there is no comparison; "" where there is one


class MetricTable(NamedTuple):
    metric: str
    scorer: str
    convention: str
    title: str
    meaning: str
    rows: list[TableRow]


class PairView(NamedTuple):
    """One tuned model against its parent."""

    model: str
    parent: str
    seeds: SeedTable | None  # None: one model, not the mean of several
    headline: Headline | None  # None where the primary scorer gave no macro value
    forest: list[ForestRow]  # in order; empty where there is nothing to draw
    heat: Heat | None
    primary: list[MetricTable]  # toxicity by the primary scorer
    cost_says: str
    costs: list[MetricTable]  # fluency, diversity, language
    others: list[MetricTable]  # toxicity by other scorers
    beside: list[MetricTable]  # under other conventions


def pair_views(content: ReportContent) -> list[PairView]:
    """One view per compared pair, in the order of ``compare``; of seeds, their mean's."""
    values = Values(content.metrics.to_pylist())
    rows = content.comparisons.to_pylist()
    return [_pair(content, model, parent, values, rows) for model, parent in shown_pairs(content)]


def _pair(content: ReportContent, model: str, parent: str, values: Values, rows: Sequence[Row]) -> PairView:
    series = by_series(rows, model, parent, content.primary, content.convention)
    toxicity = {row["scorer"] for row in rows if row["metric"] == HEADLINE}
    tables = [metric_table(content, key, group, values) for key, group in series.items()]
    chosen = [table for table in tables if table.convention == content.convention]
    primary = [table for table in chosen if table.scorer == content.primary]
    primary.sort(key=lambda table: table.metric != HEADLINE)
    chief = series.get(Series(HEADLINE, content.primary, content.convention), [])
    perplexities = [key for key in series if key.metric == PERPLEXITY and key.convention == content.convention]
    return PairView(
        model,
        parent,
        seed_table(content, model, list(series), values),
        headline(content, chief, values),
        _forest(content, chief, values),
        change_heat(content, {key: group for key, group in series.items() if key.convention == content.convention}),
        primary,
        cost(content, series[perplexities[0]], values) if perplexities else "",
        [table for table in chosen if table.scorer not in toxicity],
        [table for table in chosen if table.scorer in toxicity and table.scorer != content.primary],
        [table for table in tables if table.convention != content.convention],
    )


def metric_table(content: ReportContent, series: Series, rows: Sequence[Row], values: Values) -> MetricTable:
    """One series of comparisons, the macro mean first, then languages by name."""
    d = words.metric_words(series.metric).decimals
    made = []
    for row in sorted(rows, key=lambda row: (row["language"] != MACRO, language_name(row["language"]))):
        before, after = values.sides(row)
        share = (content.corpus_share or {}).get(row["language"])
        made.append(
            TableRow(
                row["language"],
                language_name(row["language"]),
                row["in_macro"],
                "" if share is None else f"{100 * share:.1f} %",
                value_cell(before),
                value_cell(after),
                difference_cell(row),
                change_cell(row, before, after),
                words.p_value(p_of(row)),
                significant(row, content.confidence),
                number(row["detectable"], d),
                row["n"],
                "" if row["seed_std"] is None else f"± {number(row['seed_std'], d)}",
                "" if row["status"] == OK else words.status_words(row["status"]),
            )
        )
    title = words.by(series.metric, series.scorer)
    return MetricTable(*series, title, words.meaning(series.metric), made)


def _forest(content: ReportContent, rows: Sequence[Row], values: Values) -> list[ForestRow]:
    """Rows of the forest plot of the headline metric, in the order in which they are drawn."""

    def forest_row(row: Row) -> ForestRow:
        sides = values.sides(row)
        reason = "" if row["status"] == OK else words.status_words(row["status"])
        name = "Mean" if row["language"] == MACRO else language_name(row["language"])
        before, after = (None, None) if reason else (reading(sides[0]), reading(sides[1]))
        return ForestRow(name, before, after, reason, significant(row, content.confidence), row["in_macro"])

    if all(row["status"] != OK for row in rows):
        return []
    macro = next(row for row in rows if row["language"] == MACRO)
    return ordered(forest_row(macro), [forest_row(row) for row in rows if row is not macro])


def other_conventions(tables: Sequence[MetricTable]) -> Mapping[str, list[MetricTable]]:
    """Tables by their convention."""
    groups: dict[str, list[MetricTable]] = {}
    for table in tables:
        groups.setdefault(table.convention, []).append(table)
    return groups
