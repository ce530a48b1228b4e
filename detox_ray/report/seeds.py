"""The numbers of each seed of a group, with their mean and the spread between them."""

from collections.abc import Sequence
from typing import NamedTuple

from detox_ray.report.content import ReportContent
from detox_ray.report.heat import Heat, value_heat
from detox_ray.report.labels import MACRO, language_name, number
from detox_ray.report.number_cells import Cell, value_cell
from detox_ray.report.result_rows import MetricValues, SeriesKey
from detox_ray.storage.metric_spec import ALL


class SeedRow(NamedTuple):
    name: str
    mean: bool  # whether this is the mean of all seeds
    cells: list[Cell]  # under the table's columns


class SeedTable(NamedTuple):
    """Macro values of every metric, and toxicity per language."""

    size: int
    columns: list[str]
    rows: list[SeedRow]  # each seed, then their mean
    between: list[str]  # for each column, the standard deviation between seeds
    heat: Heat


def seed_table(
    content: ReportContent, label: str, series: Sequence[SeriesKey], values: MetricValues
) -> SeedTable | None:
    """Return the table of a group of seeds, with toxicity only by the primary scorer; None for a single model."""
    models = content.seed_groups.get(label)
    if models is None:
        return None
    shown = [
        s
        for s in series
        if s.convention == content.convention and s.part == ALL and not values.by_other_scorer(s, content.primary)
    ]
    headline = values.headline(content.primary, content.convention)
    return SeedTable(
        len(models),
        [values.title(s) for s in shown],
        [
            SeedRow(name, name == label, [value_cell(values.of(s, name, MACRO), values.describe(s)) for s in shown])
            for name in (*models, label)
        ],
        [_between(s, values, label) for s in shown],
        value_heat(
            headline,
            values.describe(headline).decimals,
            sorted(content.languages, key=language_name),
            [(name, values, name) for name in (*models, label)],
        ),
    )


def _between(series: SeriesKey, values: MetricValues, label: str) -> str:
    row = values.of(series, label, MACRO)
    return number(None if row is None else row["seed_std"], values.describe(series).decimals)
