"""Opening a run's folder: the one way for the terminal, the service, the gate and pages over several runs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
    """A run's folder, finished or not. What it lacks is an InputError that says what to do."""

    name: str  # as the user wrote it
    store: Store

    def experiment(self) -> Experiment:
        """The experiment that the run carries out."""
        if not self.store.exists(EXPERIMENT):
            raise InputError(f"RUN: must be a run's folder or URI: it has no {EXPERIMENT} (got {self.name!r})")
        return validated(Experiment, yaml.safe_load(self.store.read_bytes(EXPERIMENT)), EXPERIMENT)

    def plan(self) -> dict[str, dict[Unit, str]]:
        """Stage -> unit -> key of all units that the newest call planned."""
        try:
            return record.read_plan(self.store)
        except FileNotFoundError:
            raise InputError(f"{self.store.uri} is not a run's folder: it has no {record.PLAN}") from None

    def committed(self) -> dict[Unit, str]:
        """Unit -> key of all committed units of the planned tables that this installation knows."""
        names = {unit.table for units in self.plan().values() for unit in units}
        found: dict[Unit, str] = {}
        for name in sorted(names & TABLES.keys()):
            found |= self.store.committed(TABLES[name])
        return found

    @property
    def has_results(self) -> bool:
        """Whether the run has been carried through its report."""
        return self.store.exists(RESULTS)

    def results(self) -> dict[str, Any]:
        """The parsed results.json."""
        try:
            document = json.loads(self.store.read_bytes(RESULTS))
        except FileNotFoundError:
            raise InputError(f"{self.name}: has no {RESULTS}; run the experiment through its report first") from None
        except (OSError, ValueError, StoreError) as error:
            raise InputError(f"{self.name}: {RESULTS} cannot be read: {error}") from None
        if not isinstance(document, Mapping) or "metrics" not in document:
            raise InputError(f"{self.name}: {RESULTS} is not a report's results")
        return dict(document)


def headline(results: Mapping[str, Any]) -> list[str]:
    """Macro toxicity of each compared pair of models, of seeds their mean, as sentences, from results.json."""
    if "metrics_described" not in results:  # of an older version
        return []
    metrics = Metrics.from_rows(results["metrics_described"])
    values = {
        (row["metric"], row["model"], row["language"], row["scorer"]): row
        for row in results["metrics"]
        if row["status"] == OK and row["convention"] == results["convention"] and row["part"] == ALL
    }
    scorer, metric = results["primary_scorer"], metrics.headline
    shown = [(pair["model"], pair["parent"]) for pair in results["compare"]]
    lines = []
    for row in results["comparisons"]:
        place = (row["metric"], row["language"], row["part"], row["scorer"], row["convention"], row["status"])
        if place != (metric, "macro", ALL, scorer, results["convention"], OK):
            continue
        if (row["model"], row["parent"]) not in shown:
            continue
        before = values[metric, row["parent"], "macro", scorer]["value"]
        after = values[metric, row["model"], "macro", scorer]["value"]
        change = f" ({(after - before) / before:+.0%})" if before else ""
        own = row["seeds"]
        seeds = f" (mean of {own} seeds)" if own > 1 else ""
        bounds = "" if row["ci_low"] is None else f" [{row['ci_low']:+.3f}, {row['ci_high']:+.3f}]"
        lines.append(
            f"{metrics.of(metric).title.lower()} over {row['n']} languages ({scorer}): {row['parent']} {before:.3f}, "
            f"{row['model']}{seeds} {after:.3f}{change}; difference {row['difference']:+.3f}{bounds}"
        )
    return lines


def open_run(run: str) -> RunFolder:
    """Open a run by its folder or URI. Raises InputError if it cannot be one."""
    return RunFolder(run, Store.at(run))


def finished_runs(folder: str) -> list[RunFolder]:
    """Open the runs directly below a storage that have results, by name. Raises InputError if there is none."""
    store = Store.at(folder)
    selector = pafs.FileSelector(store.path(), allow_not_found=True)
    names = sorted(info.base_name for info in store.fs.get_file_info(selector) if info.type == pafs.FileType.Directory)
    base, mark, query = folder.partition("?")
    found = [f"{base.rstrip('/')}/{name}{mark}{query}" for name in names if store.exists(f"{name}/{RESULTS}")]
    if not found:
        raise InputError(f"{folder}: holds no run with a {RESULTS}")
    return [open_run(run) for run in found]
