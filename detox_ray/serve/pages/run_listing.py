"""The runs of a storage folder, and the files of their reports.

Only what a report is known to consist of is ever read: names are matched against patterns, and a link that leads out of
the report's folder counts as missing.
"""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
from pydantic import BaseModel

from detox_ray.run import reading
from detox_ray.storage import Store, StoreError

_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # as the experiment's name
_FILE = re.compile(r"index\.html|results\.json|figures/[A-Za-z0-9][\w.+-]*\.(svg|pdf)|tables/[\w-]+\.csv", re.ASCII)


class Run(BaseModel):
    """What the list says of a run."""

    name: str
    updated: str | None  # when something was last committed; ISO 8601
    finished: bool  # it has a report
    models: list[str]
    headline: list[str]  # of each compared pair of models a sentence
    note: str | None = None  # why something is missing


class Runs:
    """Runs that share a storage folder or URI."""

    def __init__(self, storage: str):
        self._store = Store.at(storage)
        self._known: dict[str, tuple[tuple[int, ...], Run]] = {}  # name -> (its files' times and sizes, itself)

    def listed(self) -> list[Run]:
        """The newest first. A folder is a run that has a manifest."""
        selector = pafs.FileSelector(self._store.path(), allow_not_found=True)
        names = [
            info.base_name
            for info in self._store.fs.get_file_info(selector)
            if info.type == pafs.FileType.Directory and _RUN.fullmatch(info.base_name)
        ]
        runs = [run for name in names if (run := self._run(name)) is not None]
        return sorted(runs, key=lambda run: (run.updated or "", run.name), reverse=True)

    def file(self, run: str, name: str) -> bytes | None:
        """Of a run's report; None where there is no such file."""
        if not (_RUN.fullmatch(run) and _FILE.fullmatch(name)):
            return None
        folder, path = f"{run}/report", f"{run}/report/{name}"
        if self._store.is_local and not _inside(Path(self._store.path(path)), Path(self._store.path(folder))):
            return None
        try:
            return self._store.read_bytes(path)
        except (OSError, pa.ArrowException):
            return None

    def _run(self, name: str) -> Run | None:
        manifest, results = f"{name}/manifest.json", f"{name}/report/results.json"
        try:
            infos = self._store.fs.get_file_info([self._store.path(manifest), self._store.path(results)])
        except OSError:  # a folder that may not be looked into
            return None
        if infos[0].type != pafs.FileType.File:
            return None
        mark = tuple(number or 0 for info in infos for number in (info.mtime_ns, info.size))
        if name not in self._known or self._known[name][0] != mark:
            self._known[name] = mark, self._read(name, manifest, results, infos[1].type == pafs.FileType.File)
        return self._known[name][1]

    def _read(self, name: str, manifest: str, results: str, finished: bool) -> Run:
        run = Run(name=name, updated=None, finished=finished, models=[], headline=[])
        try:
            told: dict[str, Any] = self._store.read_json(manifest)
            run.updated, run.models = str(told["updated"]), [str(model) for model in told.get("models", {})]
        except (StoreError, OSError, LookupError, TypeError):
            run.note = "its manifest cannot be read"
        if finished:
            try:
                run.headline = reading.headline(self._store.read_json(results))
            except (StoreError, OSError, LookupError, TypeError):
                run.note = "its results cannot be read"
        return run


def _inside(file: Path, folder: Path) -> bool:
    return file.resolve().is_relative_to(folder.resolve())
