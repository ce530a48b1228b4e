"""Reads the reports of finished runs: for `compare`, `leaderboard` and `gate`."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from detox_ray import report
from detox_ray.config import InputError
from detox_ray.storage import Store, StoreError

RESULTS = "report/results.json"


def results_of(run: str) -> dict[str, Any]:
    """Read results.json of a run's folder or URI. Raises InputError if it has none or it cannot be read."""
    store = Store.at(run)
    try:
        document = json.loads(store.read_bytes(RESULTS))
    except FileNotFoundError:
        raise InputError(f"{run}: has no {RESULTS}; run the experiment through its report first") from None
    except (OSError, ValueError, StoreError) as error:
        raise InputError(f"{run}: {RESULTS} cannot be read: {error}") from None
    if not isinstance(document, dict) or "metrics" not in document:
        raise InputError(f"{run}: {RESULTS} is not a report's results")
    if "metrics_described" not in document:
        raise InputError(f"{run}: {RESULTS} is of an older version of detox_ray; make the report again")
    return document


def runs_below(folder: str) -> list[str]:
    """List the run folders directly below a storage that have results, by name. Raises InputError if there is none."""
    store = Store.at(folder)
    selector = pafs.FileSelector(store.path(), allow_not_found=True)
    names = sorted(info.base_name for info in store.fs.get_file_info(selector) if info.type == pafs.FileType.Directory)
    found = [name for name in names if store.exists(f"{name}/{RESULTS}")]
    if not found:
        raise InputError(f"{folder}: holds no run with a {RESULTS}")
    base, mark, query = folder.partition("?")
    return [f"{base.rstrip('/')}/{name}{mark}{query}" for name in found]


def labels(runs: Sequence[str], documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a name for each run: its experiment's, or the folder's if two experiments share one."""
    names = [str(document["experiment"]) for document in documents]
    folders = [os.path.basename(run.partition("?")[0].rstrip("/")) for run in runs]
    shared = {name for name in names if names.count(name) > 1}
    named = [folder if name in shared else name for name, folder in zip(names, folders, strict=True)]
    return [run if named.count(name) > 1 else name for name, run in zip(named, runs, strict=True)]


def write_page(runs: Sequence[str], title: str, folder: Path) -> Path:
    """Write one page over several runs, and its tables, into a local folder; return the page's path."""
    documents = [results_of(run) for run in runs]
    named = list(zip(labels(runs, documents), documents, strict=True))
    try:
        files = report.render_several(named, title)
    except ValueError as error:
        raise InputError(str(error)) from None
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder / "index.html"
