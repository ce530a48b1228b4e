"""The tables as CSV files: UTF-8, one header line, an empty cell if there is no number.

Spreadsheets run a cell that begins with = + - or @ as a formula, so such a text is written after an apostrophe.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from detox_ray.report.content import AgreementRow, CountRow, ReportContent, ValidityRow, fields_of
from detox_ray.report.published import PUBLISHED
from detox_ray.report.sweeps import sweep_lines
from detox_ray.report.training import curve_lines
from detox_ray.storage.tables import COMPARISONS, METRICS

_FORMULA = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "\uff1d",
    "\uff0b",
    "\uff0d",
    "\uff20",
)  # the last four are full-width


def csv_tables(content: ReportContent) -> dict[str, bytes]:
    """Return every table of the page as relative path -> CSV."""
    return {
        "tables/metrics.csv": csv_file(METRICS.columns.names, content.metrics.to_pylist()),
        "tables/comparisons.csv": csv_file(COMPARISONS.columns.names, content.comparisons.to_pylist()),
        "tables/validity.csv": _of(ValidityRow, content.validity),
        "tables/agreement.csv": _of(AgreementRow, content.agreement),
        "tables/counts.csv": _of(CountRow, content.counts),
        "tables/published.csv": published_csv(),
        **({"tables/sweeps.csv": csv_file(list(lines[0]), lines)} if (lines := sweep_lines(content)) else {}),
        **{
            f"tables/{section.id}-{name.replace('_', '-')}.csv": csv_file(rows.column_names, rows.to_pylist())
            for section in content.sections
            for name, rows in section.tables.items()
        },
        **({"tables/training.csv": csv_file(list(rows[0]), rows)} if (rows := curve_lines(content)) else {}),
    }


def csv_file(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return one CSV file."""
    text = io.StringIO()
    writer = csv.writer(text)  # ends lines with CR LF (RFC 4180), so that a lone carriage return is quoted
    writer.writerow([_safe(column) for column in columns])
    for row in rows:
        writer.writerow([_safe(row[column]) for column in columns])
    return text.getvalue().encode("utf-8", "replace")


def published_csv() -> bytes:
    """Return the published numbers as CSV, one per line."""
    rows = []
    for row in PUBLISHED:
        for stage, values in (("before", row.before), ("after", row.after or {})):
            for metric, value in values.items():
                place = {"paper": row.paper, "place": row.place, "model": row.model, "stage": stage, "metric": metric}
                spread = row.spread.get(metric) if stage == "before" else None
                numbers = {"value": value, "standard_deviation": spread, "mean_of": row.mean_of}
                rows.append({**place, **numbers, "scorer": row.scorer, "note": row.note})
    return csv_file(list(rows[0]), rows)


def _of(kind: type, rows: Sequence[object]) -> bytes:
    columns = [name for name, kept in vars(kind).items() if isinstance(kept, property)]
    return csv_file(columns, [fields_of(row, kind) for row in rows])


def _safe(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value.replace("\x00", "\ufffd")
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
