"""The runs in a storage folder, and the files of their reports.

Only files that reports consist of are read: names must match a pattern, and a symbolic link that leads out of the
report's folder counts as missing.
"""

import itertools
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
from pydantic import BaseModel

from detox_ray.run import headline
from detox_ray.storage import Store, StoreError

_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # the form of an experiment's name
_FILE = re.compile(r"index\.html|results\.json|figures/[A-Za-z0-9][\w.+-]*\.(svg|pdf)|tables/[\w-]+\.csv", re.ASCII)
THREADS = 16  # runs whose files are looked up at the same time


class ListedRun(BaseModel):
    """A run in the list."""

    name: str
    updated: str | None  # time of the last commit, in ISO 8601
    finished: bool  # whether it has a report
    models: list[str]
    headline: list[str]  # a sentence for each compared pair of models
    note: str | None = None  # why something is missing


class RunsFolder:
    """A storage folder or URI that contains runs."""

    def __init__(self, storage: str):
        self._store = Store.at(storage)
        self._cache: dict[str, tuple[tuple[int, ...], ListedRun]] = {}  # name -> its files' times and sizes, the run

    def list_runs(self) -> list[ListedRun]:
        """Return the runs, the latest first. A folder is a run if it has a manifest."""
        selector = pafs.FileSelector(self._store.path(), allow_not_found=True)
        names = [
            info.base_name
            for info in self._store.fs.get_file_info(selector)
            if info.type == pafs.FileType.Directory and _RUN.fullmatch(info.base_name)
        ]

        def listed(names: list[str]) -> list[ListedRun]:
            return [run for name in names if (run := self._run(name)) is not None]

        with ThreadPoolExecutor(THREADS) as pool:  # an object store answers each request after a while
            parts = pool.map(listed, (names[first::THREADS] for first in range(THREADS)))
            runs = list(itertools.chain.from_iterable(parts))
        return sorted(runs, key=lambda run: (run.updated or "", run.name), reverse=True)

    def report_file(self, run: str, name: str) -> bytes | None:
        """Return a file of a run's report; None if there is no such file."""
        if not (_RUN.fullmatch(run) and _FILE.fullmatch(name)):
            return None
        folder, path = f"{run}/report", f"{run}/report/{name}"
        if self._store.is_local and not _is_inside(Path(self._store.path(path)), Path(self._store.path(folder))):
            return None
        try:
            return self._store.read_bytes(path)
        except (OSError, pa.ArrowException):
            return None

    def _run(self, name: str) -> ListedRun | None:
        manifest, results = f"{name}/manifest.json", f"{name}/report/results.json"
        try:
            infos = self._store.fs.get_file_info([self._store.path(manifest), self._store.path(results)])
        except OSError:  # the folder may not be read
            return None
        if infos[0].type != pafs.FileType.File:
            return None
        state = tuple(number or 0 for info in infos for number in (info.mtime_ns, info.size))
        if name not in self._cache or self._cache[name][0] != state:
            finished = infos[1].type == pafs.FileType.File
            self._cache[name] = state, self._read(name, manifest, results, finished)
        return self._cache[name][1]

    def _read(self, name: str, manifest: str, results: str, finished: bool) -> ListedRun:
        run = ListedRun(name=name, updated=None, finished=finished, models=[], headline=[])
        try:
            content = self._store.read_json(manifest)
            run.updated, run.models = str(content["updated"]), [str(model) for model in content.get("models", {})]
        except (StoreError, OSError, LookupError, TypeError):
            run.note = "its manifest cannot be read"
        if finished:
            try:
                run.headline = headline(self._store.read_json(results))
            except (StoreError, OSError, LookupError, TypeError, ValueError):
                run.note = "its results cannot be read"
        return run


def _is_inside(file: Path, folder: Path) -> bool:
    return file.resolve().is_relative_to(folder.resolve())
