"""The one Ray Data job: pending units, one row each, go to actors that load a model once and commit what they make.

A result never passes through the driver: the actor reads its inputs from the store and commits its product itself, and
the row that comes back says only how much was done. So a killed actor, node or job loses the units in flight and no
more; Ray runs those again, and a commit made twice is the same commit.

An exception is returned as a row, not raised: the other units are finished, and the job then raises one error. Where a
worker process dies, another one takes the units that it held, `RETRIES` times for each.
"""

import gc
import json
import logging
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import groupby
from typing import Any, Literal, NamedTuple, Protocol

import pyarrow as pa

from detox_ray.cluster.connection import Cluster
from detox_ray.cluster.progress import Progress
from detox_ray.config import InputError
from detox_ray.storage import Store, Table, Unit

RETRIES = 3  # of a unit whose actor died
CPUS_PER_ACTOR = 4  # if the number of actors is "auto"


class JobError(RuntimeError):
    """Units failed; the others are committed."""


class Task(NamedTuple):
    """A unit to make, and the committed units it is made from."""

    unit: Unit
    key: str
    inputs: tuple[tuple[Unit, str], ...]

    def inputs_of(self, table: Table) -> list[tuple[Unit, str]]:
        """Return the inputs that are units of ``table``, with their keys."""
        return [(unit, key) for unit, key in self.inputs if unit.table == table.name]

    def read(self, store: Store, table: Table) -> pa.Table:
        """Return the rows of the one input that is a unit of ``table``."""
        ((unit, key),) = self.inputs_of(table)
        return store.read(unit, key)

    def to_row(self) -> dict[str, str]:
        """Return a row of a Ray dataset, as text: nested columns would come back as arrays."""
        inputs = [(unit.to_json(), key) for unit, key in self.inputs]
        return {"task": json.dumps((self.unit.to_json(), self.key, inputs))}

    @classmethod
    def from_row(cls, text: str) -> "Task":
        """Read what ``to_row`` gave."""
        unit, key, inputs = json.loads(text)
        return cls(Unit.from_json(unit), key, tuple((Unit.from_json(each), its_key) for each, its_key in inputs))


class Product(NamedTuple):
    """What a worker made of a task."""

    rows: pa.Table
    info: dict[str, Any]  # for the commit marker, which also gets "seconds"
    amount: int  # of the job's measure (tokens, texts), for the rate


class Worker(Protocol):
    """Holds a loaded model."""

    def make(self, task: Task) -> Product: ...


class Job(NamedTuple):
    """Tasks of one kind, and the worker that makes them."""

    label: str
    tasks: Sequence[Task]
    worker: Callable[..., Worker]
    settings: Mapping[str, Any]  # of the worker
    measure: str  # what `Product.amount` counts
    actors: int | Literal["auto"] = "auto"
    gpus: int = 1  # per actor if the cluster has GPUs; 0: the worker has no use for one
    alone: bool = False  # on a GPU in processes of its own, as it does not give the memory back


class Share(NamedTuple):
    """Actors of one job and what each reserves."""

    actors: int
    cpus: float
    gpus: int


def share(cluster: Cluster, nodes: Sequence[float], actors: int | Literal["auto"], units: int, gpus: int = 1) -> Share:
    """Return how many actors there are, never more than units, and what each reserves.

    With GPUs, each reserves ``gpus``. Without them, or if actors have no use for one, each reserves the most whole CPUs
    with which all actors fit on the ``nodes`` (the CPUs of each), so that none waits endlessly; or a fraction of a CPU
    if there are more actors than CPUs.
    """
    if cluster.gpus and gpus:
        most = max(1, int(cluster.gpus) // gpus)
        return Share(min(units, most if actors == "auto" else actors), 1, gpus)
    wanted = min(units, max(1, int(cluster.cpus) // CPUS_PER_ACTOR) if actors == "auto" else actors)
    for cpus in range(int(max(nodes)), 0, -1):
        if sum(int(node // cpus) for node in nodes) >= wanted:
            return Share(wanted, cpus, 0)
    return Share(wanted, int(100 * min(1.0, min(nodes) / wanted)) / 100, 0)


class UnitFailure(NamedTuple):
    """The reason why a unit was not made."""

    reason: str
    mistake: bool  # whether it is the user's, who can correct it


class UnitActor:
    """Makes a unit per call, on an actor. A job's worker is loaded with the job's first unit.

    It holds one worker at a time: the previous one is freed when the next job begins, and modules are imported once.
    The constructor loads nothing, because Ray restarts an actor that dies there without end, but not one that dies
    over a unit.
    """

    def __init__(self, workers: Sequence[Callable[[], Worker]], store: Store):
        self._workers, self._store = workers, store
        self._loaded: tuple[int, Worker] | None = None  # job, worker
        self._broken: dict[int, UnitFailure] = {}  # job -> why it cannot be loaded; not tried again

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Make the unit of a batch of one row."""
        (text,), (job,) = batch["task"], batch["job"]
        amount, failure = 0, self._broken.get(int(job))
        if failure is None:
            try:
                amount = self._make(int(job), Task.from_row(str(text)))
            except Exception as raised:
                failure = UnitFailure(_said(raised), isinstance(raised, InputError))
                if self._loaded is None:
                    self._broken[int(job)] = failure
        error, mistake = failure or UnitFailure("", False)
        return {"task": [str(text)], "job": [int(job)], "amount": [amount], "error": [error], "mistake": [mistake]}

    def _make(self, job: int, task: Task) -> int:
        spent: dict[str, float] = {}
        started = time.monotonic()
        if self._loaded is None or self._loaded[0] != job:
            self._loaded = None  # before the next is loaded: both may not fit
            gc.collect()
            self._loaded = (job, self._workers[job]())
            spent["load_seconds"] = round(time.monotonic() - started, 3)
            started = time.monotonic()
        product = self._loaded[1].make(task)
        seconds = round(time.monotonic() - started, 3)
        info = {**product.info, "amount": product.amount, **spent, "seconds": seconds}
        self._store.commit(task.unit, task.key, product.rows, info)
        return product.amount


def _said(error: BaseException) -> str:
    return (str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}")[:2000]


def run_jobs(
    label: str,
    jobs: Sequence[Job],
    *,
    store: Store,
    cluster: Cluster,
    progress: Progress,
) -> None:
    """Make and commit all tasks of ``jobs``, in their order, with actors that each hold one worker at a time.

    Jobs that want the same GPUs share their actors: starting a process and importing torch takes longer than many jobs.

    Raises:
        InputError: A worker raised it.
        JobError: A unit could not be made. All units that can be made are committed first.
    """

    def pool(job: Job) -> tuple[str, int, str]:
        """Return what jobs that share their actors have in common."""
        gpus, alone = (job.gpus, job.label if job.alone else "") if cluster.gpus else (0, "")
        return str(job.actors), gpus, alone

    jobs = [job for job in jobs if job.tasks]
    failed: list[tuple[str, Unit, UnitFailure]] = []
    units = sum(len(job.tasks) for job in jobs)
    with progress.task(label, units) if jobs else nullcontext() as bar:
        for (_, gpus, _), together in groupby(sorted(jobs, key=pool), key=pool):
            failed += _run(list(together), gpus, store, cluster, bar)
    if failed:
        name, unit, failure = next((each for each in failed if each[2].mistake), failed[0])
        some = f"{len(failed)} of {units} units failed"
        if failure.mistake:
            raise InputError(f"{failure.reason} ({name}: {some})")
        raise JobError(f"{name}: {some}; {unit.name}: {failure.reason}")


def _run(
    jobs: Sequence[Job], gpus: int, store: Store, cluster: Cluster, bar: Any
) -> list[tuple[str, Unit, UnitFailure]]:
    """Run one Ray Data job, and return what failed."""
    import ray

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # Progress shows what its plan and bars would
    rows = [{**task.to_row(), "job": number} for number, job in enumerate(jobs) for task in job.tasks]
    nodes = [node["Resources"]["CPU"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    part = share(cluster, nodes, jobs[0].actors, len(rows), gpus)
    workers = [partial(job.worker, **job.settings) for job in jobs]
    with warnings.catch_warnings():  # about remote arguments that have no newer name yet
        warnings.simplefilter("ignore", DeprecationWarning)
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            UnitActor,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=part.actors, max_tasks_in_flight_per_actor=2),
            num_cpus=part.cpus,
            num_gpus=part.gpus,
            fn_constructor_kwargs={"workers": workers, "store": store},
            max_task_retries=RETRIES,  # without it a unit that kills its actor does so endlessly
        )
    failed: list[tuple[str, Unit, UnitFailure]] = []
    amounts, begun, now = [0] * len(jobs), [0.0] * len(jobs), time.monotonic()
    begun[0] = now
    try:
        for row in done.iter_rows():
            job, number = jobs[row["job"]], row["job"]
            begun[number] = begun[number] or now  # a job begins when the unit before its first one ended
            now = time.monotonic()
            amounts[number] += row["amount"]
            if row["error"]:
                unit = Task.from_row(row["task"]).unit
                failed.append((job.label, unit, UnitFailure(row["error"], row["mistake"])))
            rate = amounts[number] / max(now - begun[number], 1e-9)
            note = f"{job.label}, {rate:,.0f} {job.measure}/s"
            bar.advance(0 if row["error"] else 1, f"{note}, {len(failed)} failed" if failed else note)
    except ray.exceptions.RayError as error:
        rule = "a worker process died again and again, often because memory ran out: see Ray's logs, then run again"
        raise JobError(f"{bar.label}: {rule} ({_said(error).splitlines()[0]})") from error
    return failed
