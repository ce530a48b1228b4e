"""Report: tables, figures and self-contained pages from results. Pure: it returns files' contents."""

from detox_ray.report.content import PerplexityEvaluator, ReportContent, TrainingLog
from detox_ray.report.csv_tables import csv_tables
from detox_ray.report.page import figures, index
from detox_ray.report.results import results
from detox_ray.report.run_comparison import render_several

__all__ = [
    "VERSION",
    "PerplexityEvaluator",
    "ReportContent",
    "TrainingLog",
    "render",
    "render_several",
]

VERSION = 8  # part of the key of what this stage commits


def render(content: ReportContent, processes: int = 1) -> dict[str, bytes]:
    """Return relative path -> content of every file of one run's report: ``index.html``, ``results.json``,
    ``tables/*.csv``, ``figures/*.svg`` and ``*.pdf``, which are drawn in ``processes`` processes.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    drawn = figures(content, processes)
    return {"index.html": index(content, drawn), "results.json": results(content), **csv_tables(content), **drawn}
