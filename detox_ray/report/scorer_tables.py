"""The page's tables about scorers: their validity, their agreement, and what they could not score."""

from collections.abc import Sequence
from typing import NamedTuple

from detox_ray.report.content import AgreementRow, CountRow, ValidityRow
from detox_ray.report.labels import interval, language_name, number, status_text
from detox_ray.report.number_cells import Cell
from detox_ray.storage.tables import OK


class EvidenceRow(NamedTuple):
    name: str
    cells: list[Cell]  # under the table's columns
    n: str
    problem: str


class EvidenceTable(NamedTuple):
    title: str
    against: str
    columns: list[str]
    rows: list[EvidenceRow]


class CountLine(NamedTuple):
    """Statuses of one scorer and model, summed over languages."""

    scorer: str
    model: str
    by_status: dict[str, int]
    troubles: list[str]  # "Hindi: 12 × empty completion"


def validity_tables(rows: Sequence[ValidityRow]) -> list[EvidenceTable]:
    """Return one table per scorer and reference."""
    tables: dict[tuple[str, str], EvidenceTable] = {}
    columns = ["AUROC", "Average precision", "Best F1", "at threshold", "Calibration error", "Rank correlation"]
    for row in rows:
        table = tables.setdefault((row.scorer, row.reference), EvidenceTable(row.scorer, row.reference, columns, []))
        cells = [
            Cell(number(row.auroc), interval(row.ci_low, row.ci_high)),
            Cell(number(row.average_precision), interval(row.average_precision_low, row.average_precision_high)),
            Cell(number(row.best_f1), interval(row.best_f1_low, row.best_f1_high)),
            Cell(number(row.best_f1_threshold), ""),
            Cell(number(row.calibration_error), interval(row.calibration_error_low, row.calibration_error_high)),
            Cell(number(row.spearman), interval(row.spearman_low, row.spearman_high)),
        ]
        problem = "" if row.status == OK else status_text(row.status)
        table.rows.append(EvidenceRow(language_name(row.language), cells, f"{row.n_toxic:,} of {row.n:,}", problem))
    return list(tables.values())


def agreement_tables(rows: Sequence[AgreementRow]) -> list[EvidenceTable]:
    """Return one table per pair of scorers."""
    tables: dict[tuple[str, str], EvidenceTable] = {}
    for row in rows:
        columns = ["Rank correlation", "κ"]
        table = tables.setdefault((row.scorer, row.other), EvidenceTable(row.scorer, row.other, columns, []))
        cells = [
            Cell(number(row.spearman), interval(row.spearman_low, row.spearman_high)),
            Cell(number(row.kappa), interval(row.kappa_low, row.kappa_high)),
        ]
        problem = "" if row.status == OK else status_text(row.status)
        table.rows.append(EvidenceRow(language_name(row.language), cells, f"{row.n:,}", problem))
    return list(tables.values())


def count_lines(counts: Sequence[CountRow]) -> list[CountLine]:
    """Return one line per scorer and model."""
    lines: dict[tuple[str, str], CountLine] = {}
    for row in counts:
        line = lines.setdefault((row.scorer, row.model), CountLine(row.scorer, row.model, {}, []))
        line.by_status[row.status] = line.by_status.get(row.status, 0) + row.n
        if row.status != OK:
            line.troubles.append(f"{language_name(row.language)}: {row.n} × {status_text(row.status)}")
    return list(lines.values())
