"""What a stage is, and what it may look at: the contract between the stages and the run that carries them out.

A stage states which tables it reads and writes, which units it will make and from what. All else is done once for all
stages: keys, the order, what is pending, resuming, ``--retry-failed``, plan.json, the manifest, timings, the command,
`detox-ray show`. A new stage is a package with a subclass of `Stage`, a line in the registry (run/stages.py) and, if it
has options, a line in `Experiment`.
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
    """What a unit is made from. Its key is the hash of all of it, of its stage and of the stage's version."""

    inputs: tuple[Unit, ...]
    settings: Mapping[str, Any]  # JSON values: whatever else changes the unit's content


class Input(NamedTuple):
    """A unit of the experiment's data, committed before the first stage."""

    key: str
    rows: int


@dataclass
class Context:
    """An experiment whose data stands in the run's folder, and the plan as far as it is made."""

    experiment: Experiment
    store: Store
    stages: "Sequence[Stage]"  # in the order in which they run
    data: dict[Unit, Input]
    given: dict[str, LoadableModel]  # the models that have a path, as they are given
    imported: frozenset[str]  # of these, the ones that do not stand alone: the train stage makes them whole
    supported: dict[str, list[str]] = field(default_factory=dict)  # scorer -> languages that it knows
    skipped: dict[str, list[str]] = field(default_factory=dict)  # folder of a unit of data -> why rows were left out
    notes: list[str] = field(default_factory=list)  # what readers and scorers have to say of their sources
    resolved: dict[str, Any] = field(default_factory=dict)  # stage's name -> what its `resolve` returned
    planned: dict[Unit, Planned] = field(default_factory=dict)
    keys: dict[Unit, str] = field(default_factory=dict)  # of the data and of all planned units
    committed: dict[str, dict[Unit, str]] = field(default_factory=dict)  # by table, as `pending` saw it last

    def units(self, *tables: Table) -> dict[Unit, str]:
        """Return the units of some tables, with their keys."""
        names = {table.name for table in tables}
        return {unit: key for unit, key in self.keys.items() if unit.table in names}

    def units_of(self, stages: "Iterable[Stage]") -> dict[Unit, str]:
        """Return the units that some stages make, with their keys."""
        return self.units(*(table for stage in stages for table in stage.writes))

    def pending(self, stages: "Iterable[Stage]") -> dict[Unit, str]:
        """Return the units that some stages make and that are not committed under their key."""
        stages = list(stages)
        for stage in stages:
            for table in stage.writes:
                self.committed[table.name] = self.store.committed(table)
        return {unit: key for unit, key in self.units_of(stages).items() if self.committed[unit.table].get(unit) != key}

    def tasks(self, pending: Mapping[Unit, str]) -> list[Task]:
        """Return tasks that make these units, with the keys of their inputs."""
        tasks = []
        for unit, key in pending.items():
            inputs = tuple((each, self.keys[each]) for each in self.planned[unit].inputs)
            tasks.append(Task(unit, key, inputs, replaces=unit in self.committed.get(unit.table, {unit: ""})))
        return tasks

    @property
    def models(self) -> dict[str, LoadableModel]:
        """Return all models as they will be: what is trained or imported stands in the run's folder."""
        return {name: self.model(name) for name in self.experiment.models}

    def model(self, name: str) -> LoadableModel:
        """Return a model as it will be."""
        unit = CHECKPOINTS.unit(model=name)
        if unit not in self.keys:
            return self.given[name]
        dtype = self.experiment.models[name].dtype
        return LoadableModel(name, f"{CHECKPOINTS.name}/{name}", True, None, dtype, self.keys[unit])

    def of_model(self, name: str, *inputs: Unit, **settings: Any) -> Planned:
        """Return what a unit of a model is made from: a trained model is an input, a given one's key a setting."""
        unit = CHECKPOINTS.unit(model=name)
        if unit in self.keys:
            return Planned((*inputs, unit), settings)
        return Planned(inputs, {"model": self.given[name].key, **settings})


class Section(NamedTuple):
    """A part of the report that a stage contributes."""

    id: str  # of its HTML element
    title: str
    html: str  # escaped by the stage
    tables: Mapping[str, pa.Table] = MappingProxyType({})  # name -> rows, which the report writes as CSV files
    explored: Sequence[ExplorerPrompt] = ()  # texts for the report's explorer, which blurs them


class Stage(ABC):
    """One kind of work. A subclass states the class variables and the methods that differ from these."""

    name: ClassVar[str]
    version: ClassVar[int]  # raised whenever the stage's code changes what a unit holds
    command: ClassVar[str]  # of the command line; stages of one command run together and share actors
    summary: ClassVar[str]  # what it makes, for the command's help: a clause without a full stop
    title: ClassVar[str]  # of its work in timings and in the manifest: a noun
    measure: ClassVar[str] = "rows"  # what a marker's "amount" counts
    variations: ClassVar[tuple[str, ...]] = ()  # keys of units whose timings are summed, beside the language
    needs: tuple[Table, ...] = ()
    writes: tuple[Table, ...]
    on_ray: ClassVar[bool] = True

    def check(self, experiment: Experiment, say: Callable[[str], None]) -> list[Problem]:
        """Return problems that can be seen before anything is spent; notes for the user go to ``say``."""
        return []

    def resolve(self, context: Context) -> Any:
        """Return what the stage knows before planning (scorers, evaluators): it stands in ``context.resolved``.

        Raises InputError for input that is wrong.
        """
        return None

    @abstractmethod
    def units(self, context: Context) -> Mapping[Unit, Planned]:
        """Return all units that the experiment asks of the stage. Pure."""

    def jobs(self, context: Context, tasks: Sequence[Task]) -> Sequence[Job]:
        """Return unit jobs that make the tasks on Ray's actors. A job waits for those that make its tasks' inputs."""
        raise NotImplementedError(f"{self.name} has neither jobs nor a run of its own")

    def run(self, context: Context, pending: Mapping[Unit, str], cluster: Cluster | None, progress: Progress) -> None:
        """Make and commit ``pending``, for a stage without jobs. ``cluster`` is None unless the stage is on Ray."""
        raise NotImplementedError(f"{self.name} has neither jobs nor a run of its own")

    @property
    def has_jobs(self) -> bool:
        """Whether its units are made by unit jobs."""
        return type(self).jobs is not Stage.jobs

    def rate(self, markers: Sequence[Mapping[str, Any]], seconds: float) -> str:
        """Return the throughput of some units, from their markers, in the stage's own words."""
        amount = sum(marker.get("amount", marker["rows"]) for marker in markers)
        return f"{amount / seconds:,.0f} {self.measure}/s"

    def record(self, markers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the manifest's entry of some units, from their markers: what all say alike, and how many they are."""
        alike = {
            name: value
            for name, value in markers[0].items()
            if isinstance(value, str) and all(marker.get(name) == value for marker in markers)
        }
        rows = sum(marker["rows"] for marker in markers)
        seconds = round(sum(marker.get("seconds", 0.0) for marker in markers), 2)
        return {**alike, "units": len(markers), "rows": rows, "seconds": seconds}

    def costs(self, work: Workload) -> list[Cost]:
        """Return what the stage will take, for `detox-ray plan`."""
        return []

    def memory(self, work: Workload) -> list[DeviceMemory]:
        """Return what devices must hold for it, for `detox-ray plan`; training and generation have their own tables."""
        return []

    def metrics(self) -> Sequence[MetricSpec]:
        """Return metrics over the stage's tables: each states how it is computed (`MetricSpec.compute`)."""
        return ()

    def section(self, context: Context) -> Section | None:
        """Return the stage's section of the report."""
        return None
