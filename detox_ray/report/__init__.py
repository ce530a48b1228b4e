"""Report: tables, figures and self-contained pages from results. It returns the contents of files and writes none."""

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

VERSION = 10  # part of the key of what this stage commits


def render(content: ReportContent, processes: int = 1) -> dict[str, bytes]:
    """Return the files of one run's report, as relative path -> content.

    They are ``index.html``, ``results.json``, ``tables/*.csv``, and ``figures/*.svg`` and ``*.pdf``, which are drawn in
    ``processes`` processes.

    Raises:
        ValueError: If a number is NaN or infinite.
    """
    drawn = figures(content, processes)
    return {"index.html": index(content, drawn), "results.json": results(content), **csv_tables(content), **drawn}
