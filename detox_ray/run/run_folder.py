"""Open a run's folder. The terminal, the service, the gate and pages on several runs all read runs through this."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.fs as pafs
import yaml

from detox_ray.config import Experiment, InputError
from detox_ray.config.loading import validated
from detox_ray.run import record
from detox_ray.storage import TABLES, Store, StoreError, Unit
from detox_ray.storage.metric_spec import ALL, Metrics
from detox_ray.storage.tables import OK

EXPERIMENT = "experiment.yaml"
RESULTS = "report/results.json"


@dataclass(frozen=True)
class RunFolder:
    """A run's folder, finished or not. If a file is missing, methods raise InputError, which says what to do."""

    name: str  # as the user wrote it
    store: Store

    def experiment(self) -> Experiment:
        """Read the experiment that the run carries out."""
        if not self.store.exists(EXPERIMENT):
            raise InputError(f"RUN: must be a run's folder or URI, with {EXPERIMENT} in it (got {self.name!r})")
        return validated(Experiment, yaml.safe_load(self.store.read_bytes(EXPERIMENT)), EXPERIMENT)

    def plan(self) -> dict[str, dict[Unit, str]]:
        """Read the plan of the latest call: stage -> unit -> key."""
        try:
            return record.read_plan(self.store)
        except FileNotFoundError:
            raise InputError(f"{self.store.uri} is not a run's folder: it has no {record.PLAN}") from None

    def committed(self) -> dict[Unit, str]:
        """Return unit -> key for all committed units, in those planned tables that this installation knows."""
        names = {unit.table for units in self.plan().values() for unit in units}
        keys: dict[Unit, str] = {}
        for name in sorted(names & TABLES.keys()):
            keys |= self.store.committed(TABLES[name])
        return keys

    @property
    def has_results(self) -> bool:
        """Return whether the run has a report."""
        return self.store.exists(RESULTS)

    def results(self) -> dict[str, Any]:
        """Read results.json."""
        try:
            document = json.loads(self.store.read_bytes(RESULTS))
        except FileNotFoundError:
            raise InputError(f"{self.name} has no {RESULTS}: run the experiment up to its report first") from None
        except (OSError, ValueError, StoreError) as error:
            raise InputError(f"{self.name}: {RESULTS} cannot be read: {error}") from None
        if not isinstance(document, Mapping) or "metrics" not in document:
            raise InputError(f"{self.name}: {RESULTS} is not a report's results: run `detox-ray report` again")
        return dict(document)


class Headline(NamedTuple):
    """The toxicity of a model and of its parent, averaged over languages, in the full precision of results.json.

    If the model was trained with several seeds, its values are means over them.
    """

    model: str
    parent: str
    metric: str
    scorer: str
    languages: int
    seeds: int
    parent_value: float
    model_value: float
    difference: float
    ci_low: float | None
    ci_high: float | None

    @property
    def change(self) -> float | None:
        """Return the relative change, as a fraction; None if the parent's value is 0."""
        return (self.model_value - self.parent_value) / self.parent_value if self.parent_value else None


def headlines(results: Mapping[str, Any]) -> list[Headline]:
    """Return the macro toxicity of each compared pair in results.json."""
    if "metrics_described" not in results:  # written by an older version
        return []
    metric = Metrics.from_rows(results["metrics_described"]).headline
    values = {
        (row["model"], row["scorer"]): row["value"]
        for row in results["metrics"]
        if row["status"] == OK and _is_headline(row, metric, results)
    }
    pairs = [(pair["model"], pair["parent"]) for pair in results["compare"]]
    scorer = results["primary_scorer"]
    return [
        Headline(
            row["model"],
            row["parent"],
            metric,
            scorer,
            row["n"],
            row["seeds"],
            values[row["parent"], scorer],
            values[row["model"], scorer],
            row["difference"],
            row["ci_low"],
            row["ci_high"],
        )
        for row in results["comparisons"]
        if row["status"] == OK
        and _is_headline(row, metric, results)
        and row["scorer"] == scorer
        and (row["model"], row["parent"]) in pairs
    ]


def _is_headline(row: Mapping[str, Any], metric: str, results: Mapping[str, Any]) -> bool:
    place = (row["metric"], row["language"], row["part"], row["convention"])
    return place == (metric, "macro", ALL, results["convention"])


def headline(results: Mapping[str, Any]) -> list[str]:
    """Return one sentence on the macro toxicity of each compared pair in results.json."""
    if "metrics_described" not in results:  # written by an older version
        return []
    metrics = Metrics.from_rows(results["metrics_described"])
    sentences = []
    for row in headlines(results):
        change = "" if row.change is None else f" ({row.change:+.0%})"
        seeds = f" (mean of {row.seeds} seeds)" if row.seeds > 1 else ""
        bounds = "" if row.ci_low is None else f" [{row.ci_low:+.3f}, {row.ci_high:+.3f}]"
        sentences.append(
            f"{metrics.of(row.metric).title.lower()} over {row.languages} languages ({row.scorer}): "
            f"{row.parent} {row.parent_value:.3f}, {row.model}{seeds} {row.model_value:.3f}{change}; "
            f"difference {row.difference:+.3f}{bounds}"
        )
    return sentences


def open_run(run: str) -> RunFolder:
    """Open a run by its folder or URI. Raises InputError if that is not valid."""
    if Path(run).is_file():
        raise InputError(f"{run} is a file: give the run's folder; `detox-ray validate CONFIG` prints that of a config")
    return RunFolder(run, Store.at(run))


def finished_runs(folder: str) -> list[RunFolder]:
    """Open all runs directly below a storage that have results, sorted by name. Raise InputError if there are none."""
    store = Store.at(folder)
    if store.fs.get_file_info(store.path()).type == pafs.FileType.NotFound:
        raise InputError(f"{folder}: does not exist: give the storage of an experiment, a folder of finished runs")
    selector = pafs.FileSelector(store.path(), allow_not_found=True)
    names = sorted(info.base_name for info in store.fs.get_file_info(selector) if info.type == pafs.FileType.Directory)
    base, mark, query = folder.partition("?")
    runs = [f"{base.rstrip('/')}/{name}{mark}{query}" for name in names if store.exists(f"{name}/{RESULTS}")]
    if not runs:
        raise InputError(f"{folder}: has no run with {RESULTS}: give a folder of finished runs")
    return [open_run(run) for run in runs]
