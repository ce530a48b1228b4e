"""The section "Why" of the report: figures of the stage's tables, each with its limits."""

import json

import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined

from detox_ray.cluster.stage import Context, Section
from detox_ray.explain import tables
from detox_ray.explain.plan import Explained
from detox_ray.explain.section_models import model_part
from detox_ray.explain.section_parents import parent_part
from detox_ray.explain.section_tables import SectionTables
from detox_ray.storage import Unit

EXPORTED = (
    tables.PROBES,
    tables.NEURONS,
    tables.SOURCES,
    tables.SOURCE_ACTIVATIONS,
    tables.LANGUAGE_OVERLAPS,
    tables.RESIDUAL_SHIFTS,
    tables.INTERVENTIONS,
    tables.PREDICTORS,
    tables.CORRELATIONS,
)
# Left out: a probe's weights, one number per dimension, and the tokens that a neuron writes, which the page blurs and a
# CSV file cannot. Both are in the run's folder.
NOT_EXPORTED = ("weights", "bias", "tokens")


def section(context: Context, explained: Explained) -> Section:
    """Build the section."""
    read = SectionTables(context, explained)
    environment = Environment(
        loader=PackageLoader("detox_ray", "explain"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    html = environment.get_template("section.html").render(
        parents=[parent_part(read, name) for name in explained.sources_of],
        models=[model_part(read, name, parent) for name, parent in explained.parents.items()],
        convention=explained.settings.convention.name,
        confidence=f"{100 * explained.settings.resampling.confidence:g} %",
    )
    return Section("why", "Why", html, exported(context))


def exported(context: Context) -> dict[str, pa.Table]:
    """Return the tables for CSV, with the keys of their units as columns and lists as JSON."""
    rows_by_name: dict[str, pa.Table] = {}
    for table in EXPORTED:
        rows_by_unit = context.store.read_each(context.units(table).items(), lambda rows: rows)
        if rows_by_unit:
            rows_by_name[table.name] = pa.concat_tables(_with_keys(rows, unit) for unit, rows in rows_by_unit.items())
    return rows_by_name


def _with_keys(rows: pa.Table, unit: Unit) -> pa.Table:
    columns = {name: pa.array([value] * rows.num_rows, pa.string()) for name, value in unit.keys}
    for field in rows.schema:
        if field.name in NOT_EXPORTED:
            continue
        column = rows[field.name]
        if pa.types.is_list(field.type):
            cells = [None if row is None else json.dumps(row, ensure_ascii=False) for row in column.to_pylist()]
            column = pa.array(cells, pa.string())
        columns[field.name] = column
    return pa.table(columns)
