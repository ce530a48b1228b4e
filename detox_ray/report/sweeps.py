"""Sweeps: the effect of a training's settings, as curves of toxicity against possible costs, and as a table.

Models of a family that differ in one number are joined in its order (Li et al. 2024, appendix C: learning rates). If a
family varies several fields, the number with the most values orders the curves, and each combination of the others has
its own curve. If no field is a number, the models are separate points. Values are macro means, and means over seeds.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from detox_ray.report.content import ReportContent
from detox_ray.report.labels import MACRO, p_value, shortened, status_text
from detox_ray.report.number_cells import Cell, difference_cell, value_cell
from detox_ray.report.result_rows import MetricValues, Row, SeriesKey, interval_value, p_of, series_of
from detox_ray.report.shown_models import shown_pairs
from detox_ray.report.tradeoff import Cloud, Point, axes, framed
from detox_ray.storage.tables import OK

Choices = Mapping[str, Any]  # field of a training -> value


class SweepRow(NamedTuple):
    values: list[str]  # under the table's fields
    model: str
    parent: bool  # whether this is the model that the family was tuned from; it has no values of the fields
    seeds: int
    cells: list[Cell]  # under the columns
    difference: Cell  # in toxicity, from the parent
    p_value: str
    problem: str  # why there is no toxicity; "" if there is one


class SweepTable(NamedTuple):
    """One family's models, sorted by what varies."""

    family: str
    fields: list[str]
    columns: list[str]
    rows: list[SweepRow]


class Curve(NamedTuple):
    name: str
    models: list[tuple[str, str]]  # (model, its label), in order
    joined: bool


def sweep_clouds(content: ReportContent) -> list[Cloud]:
    """Return a panel for each cost for which a swept model has a macro value."""
    values = MetricValues(content.metrics.to_pylist(), content.described)
    headline = values.headline(content.primary, content.convention)
    panels = [_cloud(content, values, headline, axis) for axis in axes(values, content.primary, content.convention)]
    return [cloud for cloud in panels if any(not point.parent for point in cloud.points)]


def _cloud(content: ReportContent, values: MetricValues, headline: SeriesKey, axis: SeriesKey) -> Cloud:
    points: list[Point] = []
    lines: list[tuple[int, ...]] = []

    def add(model: str, name: str, parent: bool = False) -> list[int]:
        x, y = interval_value(values.of(axis, model, MACRO)), interval_value(values.of(headline, model, MACRO))
        if x is None or y is None:
            return []
        points.append(Point(name, x, y, parent=parent))
        return [len(points) - 1]

    all_curves = [curve for family in content.sweeps for curve in curves(content.sweeps[family], family)]
    for curve in all_curves:
        line: list[int] = []
        for model, value in curve.models:
            first = len(all_curves) > 1 and not line
            line += add(model, f"{curve.name}: {value}" if first else value)
        if curve.joined and len(line) > 1:
            lines.append(tuple(line))
    for parent in dict.fromkeys(parent for names in content.sweeps.values() for parent in _parents(content, names)):
        add(parent, parent, parent=True)
    return framed(headline, axis, content.described)._replace(points=points, curves=tuple(lines), ranked=False)


def curves(swept: Mapping[str, Choices], family: str) -> list[Curve]:
    """Return a family's models as curves. If no number orders them, return one curve that is not joined."""
    numbers = [field for field in fields_of(swept) if _is_number(swept, field)]
    if not numbers:
        return [
            Curve(
                family,
                [(model, shortened(", ".join(map(value_text, swept[model].values())))) for model in ordered(swept)],
                False,
            )
        ]
    along = max(numbers, key=lambda field: len({choices[field] for choices in swept.values()}))  # if equal, the first
    models_of: dict[str, list[tuple[str, str]]] = {}
    for model in ordered(swept):
        others = [f"{field} {value_text(value)}" for field, value in swept[model].items() if field != along]
        models_of.setdefault(", ".join([family, *others]), []).append((model, value_text(swept[model][along])))
    walked = {model: swept[model][along] for model in swept}
    return [Curve(name, sorted(models, key=lambda entry: walked[entry[0]]), True) for name, models in models_of.items()]


def sweep_tables(content: ReportContent) -> list[SweepTable]:
    """Return a table for each family that varies anything except its seed."""
    values = MetricValues(content.metrics.to_pylist(), content.described)
    headline = values.headline(content.primary, content.convention)
    series = [headline, *axes(values, content.primary, content.convention)]
    gaps = {
        (row["model"], row["parent"]): row
        for row in content.comparisons.to_pylist()
        if series_of(row) == headline and row["language"] == MACRO
    }

    def row(model: str, choices: list[str], gap: Row | None, parent: bool) -> SweepRow:
        macro = values.of(headline, model, MACRO)
        compared = gap is not None and gap["status"] == OK
        return SweepRow(
            choices,
            model,
            parent,
            macro["seeds"] if macro else 1,
            [value_cell(values.of(s, model, MACRO), values.describe(s)) for s in series],
            difference_cell(gap, values.describe(headline)) if gap and compared else Cell("–", ""),
            p_value(p_of(gap) if gap and compared else None),
            status_text(macro["status"]) if macro and macro["status"] != OK else "",
        )

    tables = []
    for family, swept in content.sweeps.items():
        fields = fields_of(swept)
        parents = {model: parent for model, parent in shown_pairs(content) if model in swept}
        rows = [row(parent, [""] * len(fields), None, True) for parent in _parents(content, swept)]
        for model in ordered(swept):
            gap = gaps.get((model, parents[model])) if model in parents else None
            rows.append(row(model, [value_text(value) for value in swept[model].values()], gap, False))
        tables.append(SweepTable(family, fields, [values.title(s) for s in series], rows))
    return tables


def sweep_lines(content: ReportContent) -> list[dict[str, Any]]:
    """Return the macro means of every swept model and metric, for a CSV file with a line per number."""
    fields = list(dict.fromkeys(field for swept in content.sweeps.values() for field in fields_of(swept)))
    rows: dict[str, list[Row]] = {}
    for row in content.metrics.to_pylist():
        if row["language"] == MACRO and row["convention"] == content.convention:
            rows.setdefault(row["model"], []).append(row)
    return [
        {
            "family": family,
            **{f"train.{field}": value_text(swept[model][field]) if field in swept[model] else "" for field in fields},
            **row,
        }
        for family, swept in content.sweeps.items()
        for model in ordered(swept)
        for row in rows.get(model, ())
    ]


def fields_of(swept: Mapping[str, Choices]) -> list[str]:
    """Return the fields that vary, in the order of the experiment. All models of a family have the same fields."""
    return list(next(iter(swept.values())))


def ordered(swept: Mapping[str, Choices]) -> list[str]:
    """Sort models by their values: numbers by size, other values in the order of the experiment."""

    def key(model: str) -> list[float]:
        return [
            float(swept[model][field]) if _is_number(swept, field) else _place(swept, field, model)
            for field in fields_of(swept)
        ]

    return sorted(swept, key=key)


def value_text(value: Any) -> str:
    """Format the value of a field of a training."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _place(swept: Mapping[str, Choices], field: str, model: str) -> float:
    return float(
        list(dict.fromkeys(value_text(choices[field]) for choices in swept.values())).index(
            value_text(swept[model][field])
        )
    )


def _is_number(swept: Mapping[str, Choices], field: str) -> bool:
    values = [choices[field] for choices in swept.values()]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _parents(content: ReportContent, swept: Mapping[str, Choices]) -> list[str]:
    return list(dict.fromkeys(parent for model, parent in shown_pairs(content) if model in swept))
