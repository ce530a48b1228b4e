"""What each of a group's seeds gave by itself, beside their mean and the spread between them."""

from collections.abc import Sequence
from typing import NamedTuple

from detox_ray.report.cells import Cell, value_cell
from detox_ray.report.content import ReportContent
from detox_ray.report.heat import Heat, value_heat
from detox_ray.report.rows import Series, Values
from detox_ray.report.words import HEADLINE, MACRO, by, language_name, metric_words, number


class SeedRow(NamedTuple):
    name: str
    mean: bool  # of all seeds
    cells: list[Cell]  # under the table's columns


class SeedTable(NamedTuple):
    """Macro values of every metric, and toxicity per language."""

    size: int
    columns: list[str]
    rows: list[SeedRow]  # each seed, then their mean
    between: list[str]  # the standard deviation between seeds, under the columns
    heat: Heat


def seed_table(content: ReportContent, label: str, series: Sequence[Series], values: Values) -> SeedTable | None:
    """None for a model that is not a group of seeds. Toxicity by the primary scorer only."""
    models = content.seed_groups.get(label)
    if models is None:
        return None
    toxicity = {s.scorer for s in series if s.metric == HEADLINE} - {content.primary}
    shown = [s for s in series if s.convention == content.convention and s.scorer not in toxicity]
    chief = Series(HEADLINE, content.primary, content.convention)
    return SeedTable(
        len(models),
        [by(s.metric, s.scorer) for s in shown],
        [
            SeedRow(name, name == label, [value_cell(values.of(s, name, MACRO)) for s in shown])
            for name in (*models, label)
        ],
        [_between(s, values, label) for s in shown],
        value_heat(chief, sorted(content.languages, key=language_name), [(n, values, n) for n in (*models, label)]),
    )


def _between(series: Series, values: Values, label: str) -> str:
    row = values.of(series, label, MACRO)
    return number(None if row is None else row["seed_std"], metric_words(series.metric).decimals)
