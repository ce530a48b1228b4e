"""One page over several finished runs, for `detox-ray compare` and `detox-ray leaderboard`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detox_ray import report
from detox_ray.config import InputError
from detox_ray.run.run_folder import RunFolder


def labels(runs: Sequence[str], documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each run: its experiment's, or the folder where two experiments share one."""
    names = [str(document["experiment"]) for document in documents]
    folders = [os.path.basename(run.partition("?")[0].rstrip("/")) for run in runs]
    shared = {name for name in names if names.count(name) > 1}
    named = [folder if name in shared else name for name, folder in zip(names, folders, strict=True)]
    return [run if named.count(name) > 1 else name for name, run in zip(named, runs, strict=True)]


def write_page(runs: Sequence[RunFolder], title: str, folder: Path) -> Path:
    """Write the page and its tables to a local folder; return the page's path."""
    documents = [run.results() for run in runs]
    named = list(zip(labels([run.name for run in runs], documents), documents, strict=True))
    try:
        files = report.render_several(named, title)
    except ValueError as error:
        raise InputError(str(error)) from None
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder / "index.html"
