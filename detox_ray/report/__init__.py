"""Report: tables, figure and one self-contained page from an experiment's results. Pure: it returns files' contents."""

from detox_ray.report.content import Completion, ReportContent, Sample, Timing
from detox_ray.report.page import figure_file, page
from detox_ray.report.results import results
from detox_ray.report.views import pair_views

__all__ = ["VERSION", "Completion", "ReportContent", "Sample", "Timing", "render"]

VERSION = 1  # part of the key of what this stage commits


def render(content: ReportContent) -> dict[str, bytes]:
    """Relative path -> content of every file of the report. The first compared pair with values has the figure file."""
    files = {"index.html": page(content), "results.json": results(content)}
    drawn = next((view for view in pair_views(content) if view.figure is not None), None)
    if drawn is not None:
        files["figures/toxicity.svg"] = figure_file(content, drawn)
    return files
