"""Write a page on several finished runs, for `detox-ray compare` and `detox-ray leaderboard`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detox_ray import report
from detox_ray.config import InputError
from detox_ray.run.run_folder import RunFolder

PAGE = "index.html"


def labels_of(runs: Sequence[str], documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a label for each run: its experiment's name, or its folder if several experiments share the name."""
    names = [str(document["experiment"]) for document in documents]
    folders = [os.path.basename(run.partition("?")[0].rstrip("/")) for run in runs]
    shared = {name for name in names if names.count(name) > 1}
    labels = [folder if name in shared else name for name, folder in zip(names, folders, strict=True)]
    return [run if labels.count(label) > 1 else label for label, run in zip(labels, runs, strict=True)]


def labelled_results(runs: Sequence[RunFolder]) -> list[tuple[str, dict[str, Any]]]:
    """Return each run's label and results. Raises InputError if a run is given twice, or has no results."""
    names = [os.path.normpath(run.name) for run in runs]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"given more than once: {', '.join(repeated)}")
    documents = [run.results() for run in runs]
    labels = labels_of([run.name for run in runs], documents)
    return list(zip(labels, documents, strict=True))


def write_page(results: Sequence[tuple[str, Mapping[str, Any]]], title: str, folder: Path) -> Path:
    """Write the page on labelled results, and its tables, to a local folder. Return the path of the page.

    Raises InputError if the results cannot be compared.
    """
    try:
        files = report.render_several(results, title)
    except ValueError as error:
        raise InputError(str(error)) from None
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder / PAGE
