"""The interface of a stage, and the context that it works in.

A stage declares the tables that it reads and writes, and its units with their inputs. Everything else is implemented
once for all stages: keys, order, pending units, resuming, ``--retry-failed``, plan.json, the manifest, timings, the
command and `detox-ray show`. A new stage is a package with a subclass of `Stage`, a line in the registry
(run/stages.py) and, if it has options, a line in `Experiment`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from detox_ray.cluster.connection import Cluster
from detox_ray.cluster.costs import Cost, DeviceMemory, Workload
from detox_ray.cluster.explored_texts import ExplorerPrompt
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.unit_jobs import Job, Task
from detox_ray.config import Experiment, Problem
from detox_ray.models import LoadableModel
from detox_ray.storage import Store, Table, Unit
from detox_ray.storage.metric_spec import MetricSpec
from detox_ray.storage.tables import CHECKPOINTS


class Planned(NamedTuple):
    """The inputs and settings of a unit. Its key is a hash of them, the stage's name and the stage's version."""

    inputs: tuple[Unit, ...]
    settings: Mapping[str, Any]  # JSON values of everything else that changes the unit's content


class Input(NamedTuple):
    """A unit of the experiment's data, committed before the first stage."""

    key: str
    rows: int


@dataclass
class Context:
    """An experiment whose data is in the run's folder, and the units planned so far."""

    experiment: Experiment
    store: Store
    stages: "Sequence[Stage]"  # in the order in which they run
    data: dict[Unit, Input]
    given: dict[str, LoadableModel]  # the models with a path, as given
    imported: frozenset[str]  # given models that are incomplete, such as adapters: the train stage completes them
    supported: dict[str, list[str]] = field(default_factory=dict)  # scorer -> languages that it supports
    skipped: dict[str, list[str]] = field(default_factory=dict)  # folder of a unit of data -> reasons for skipped rows
    notes: list[str] = field(default_factory=list)  # remarks of readers and scorers about their sources
    resolved: dict[str, Any] = field(default_factory=dict)  # stage's name -> result of its `resolve`
    planned: dict[Unit, Planned] = field(default_factory=dict)
    keys: dict[Unit, str] = field(default_factory=dict)  # of the data and of all planned units
    committed: dict[str, dict[Unit, str]] = field(default_factory=dict)  # by table, as of the last `pending`

    def units(self, *tables: Table) -> dict[Unit, str]:
        """Return the units of some tables with their keys."""
        names = {table.name for table in tables}
        return {unit: key for unit, key in self.keys.items() if unit.table in names}

    def units_of(self, stages: "Iterable[Stage]") -> dict[Unit, str]:
        """Return the units of some stages with their keys."""
        return self.units(*(table for stage in stages for table in stage.writes))

    def pending(self, stages: "Iterable[Stage]") -> dict[Unit, str]:
        """Return the units of some stages that are not committed under their key."""
        stages = list(stages)
        for stage in stages:
            for table in stage.writes:
                self.committed[table.name] = self.store.committed(table)
        return {unit: key for unit, key in self.units_of(stages).items() if self.committed[unit.table].get(unit) != key}

    def tasks(self, pending: Mapping[Unit, str]) -> list[Task]:
        """Return the tasks that make these units, with the keys of their inputs."""
        tasks = []
        for unit, key in pending.items():
            inputs = tuple((source, self.keys[source]) for source in self.planned[unit].inputs)
            tasks.append(Task(unit, key, inputs, replaces=unit in self.committed.get(unit.table, {unit: ""})))
        return tasks

    @property
    def models(self) -> dict[str, LoadableModel]:
        """Return all models in their final place: trained and imported models are in the run's folder."""
        return {name: self.model(name) for name in self.experiment.models}

    def model(self, name: str) -> LoadableModel:
        """Return a model in its final place."""
        unit = CHECKPOINTS.unit(model=name)
        if unit not in self.keys:
            return self.given[name]
        dtype = self.experiment.models[name].dtype
        return LoadableModel(name, f"{CHECKPOINTS.name}/{name}", True, None, dtype, self.keys[unit])

    def of_model(self, name: str, *inputs: Unit, **settings: Any) -> Planned:
        """Return the inputs and settings of a model's unit: a trained model is an input, a given one a setting."""
        unit = CHECKPOINTS.unit(model=name)
        if unit in self.keys:
            return Planned((*inputs, unit), settings)
        return Planned(inputs, {"model": self.given[name].key, **settings})


class Section(NamedTuple):
    """A part of the report that a stage contributes."""

    id: str  # id of its HTML element
    title: str
    html: str  # HTML, escaped by the stage
    tables: Mapping[str, pa.Table] = MappingProxyType({})  # name -> rows, written by the report as CSV files
    explored: Sequence[ExplorerPrompt] = ()  # texts for the report's explorer, which blurs them


class Stage(ABC):
    """Base class of stages. A subclass sets the class variables and overrides methods as needed."""

    name: ClassVar[str]
    version: ClassVar[int]  # raised whenever the stage's code changes the content of a unit
    command: ClassVar[str]  # name on the command line; stages of one command run together and share actors
    summary: ClassVar[str]  # result of the stage for the command's help, without a full stop
    title: ClassVar[str]  # noun for its work in timings and in the manifest
    measure: ClassVar[str] = "rows"  # unit of a marker's "amount"
    variations: ClassVar[tuple[str, ...]] = ()  # keys over which timings are summed, besides the language
    needs: tuple[Table, ...] = ()
    writes: tuple[Table, ...]
    on_ray: ClassVar[bool] = True

    def check(self, experiment: Experiment, say: Callable[[str], None]) -> list[Problem]:
        """Return problems that can be found before a run; ``say`` takes notes for the user."""
        return []

    def resolve(self, context: Context) -> Any:
        """Return what the stage must know before planning (scorers, evaluators), for ``context.resolved``.

        Raises:
            InputError: The input is invalid.
        """
        return None

    @abstractmethod
    def units(self, context: Context) -> Mapping[Unit, Planned]:
        """Return all units of the stage in this experiment. Pure."""

    def jobs(self, context: Context, tasks: Sequence[Task]) -> Sequence[Job]:
        """Return unit jobs that make the tasks on Ray actors. A job waits for the jobs that make its inputs."""
        raise NotImplementedError(f"{self.name} has neither jobs nor a run of its own")

    def run(self, context: Context, pending: Mapping[Unit, str], cluster: Cluster | None, progress: Progress) -> None:
        """Make and commit ``pending`` if the stage has no jobs. ``cluster`` is None unless the stage runs on Ray."""
        raise NotImplementedError(f"{self.name} has neither jobs nor a run of its own")

    @property
    def has_jobs(self) -> bool:
        """Return whether unit jobs make the stage's units."""
        return type(self).jobs is not Stage.jobs

    def rate(self, markers: Sequence[Mapping[str, Any]], seconds: float) -> str:
        """Return the throughput of some units from their markers, as text."""
        amount = sum(marker.get("amount", marker["rows"]) for marker in markers)
        return f"{amount / seconds:,.0f} {self.measure}/s"

    def record(self, markers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the manifest's entry of some units from their markers: their number and common values."""
        alike = {
            name: value
            for name, value in markers[0].items()
            if isinstance(value, str) and all(marker.get(name) == value for marker in markers)
        }
        rows = sum(marker["rows"] for marker in markers)
        seconds = round(sum(marker.get("seconds", 0.0) for marker in markers), 2)
        return {**alike, "units": len(markers), "rows": rows, "seconds": seconds}

    def costs(self, work: Workload) -> list[Cost]:
        """Return the costs of the stage for `detox-ray plan`."""
        return []

    def memory(self, work: Workload) -> list[DeviceMemory]:
        """Return the memory of devices for `detox-ray plan`; training and generation have their own tables."""
        return []

    def metrics(self) -> Sequence[MetricSpec]:
        """Return the metrics over the stage's tables, each with its computation (`MetricSpec.compute`)."""
        return ()

    def section(self, context: Context) -> Section | None:
        """Return the stage's section of the report."""
        return None
