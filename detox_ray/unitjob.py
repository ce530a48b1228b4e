"""The one Ray Data job: pending units, one row each, go to actors that load a model once and commit what they make.

A result never passes through the driver: the actor reads its inputs from the store and commits its product itself, and
the row that comes back says only how much was done. So a killed actor, node or job loses the units in flight and no
more; Ray runs those again, and a commit made twice is the same commit.

An exception is returned as a row, not raised: the other units are finished, and the job then raises one error. Where a
worker process dies, another one takes the units it held, `RETRIES` times for each.
"""

import json
import logging
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import pyarrow as pa

from detox_ray.cluster import Cluster
from detox_ray.config import InputError
from detox_ray.progress import Progress
from detox_ray.store import Store, Unit

RETRIES = 3  # of a unit whose actor died
CPUS_PER_ACTOR = 4  # where the number of actors is left to us


class JobError(RuntimeError):
    """Units failed; the others are committed."""


class Task(NamedTuple):
    """A unit to make, and the committed units it is made from."""

    unit: Unit
    key: str
    inputs: tuple[tuple[Unit, str], ...]

    def to_row(self) -> dict[str, str]:
        """A row of a Ray dataset, as text: nested columns would come back as arrays."""
        return {"task": json.dumps(self)}

    @classmethod
    def from_row(cls, text: str) -> "Task":
        unit, key, inputs = json.loads(text)
        return cls(_unit(unit), key, tuple((_unit(each), its_key) for each, its_key in inputs))


def _unit(parts: Sequence[Any]) -> Unit:
    table, partition, shard = parts
    return Unit(table, tuple(partition), shard)


class Product(NamedTuple):
    """What a worker made of a task."""

    rows: pa.Table
    info: dict[str, Any]  # for the commit marker, which also gets "seconds"
    amount: int  # of the job's measure (tokens, texts), for the rate


class Worker(Protocol):
    """Holds a loaded model; one per actor."""

    def make(self, task: Task) -> Product: ...


class Share(NamedTuple):
    """Actors of one job and what each reserves."""

    actors: int
    cpus: float
    gpus: int


def share(cluster: Cluster, nodes: Sequence[float], actors: int | Literal["auto"], units: int, gpus: int = 1) -> Share:
    """How many actors, never more than units, and what each gets.

    With GPUs: ``gpus`` to each. Without: the most whole CPUs with which all actors fit on the ``nodes`` (the CPUs of
    each), so that none waits for ever; a fraction where there are more actors than CPUs.
    """
    if cluster.gpus:
        most = max(1, int(cluster.gpus) // gpus)
        return Share(min(units, most if actors == "auto" else actors), 1, gpus)
    wanted = min(units, max(1, int(cluster.cpus) // CPUS_PER_ACTOR) if actors == "auto" else actors)
    for cpus in range(int(max(nodes)), 0, -1):
        if sum(int(node // cpus) for node in nodes) >= wanted:
            return Share(wanted, cpus, 0)
    return Share(wanted, int(100 * min(1.0, min(nodes) / wanted)) / 100, 0)


class Failure(NamedTuple):
    """Why a unit was not made."""

    reason: str
    mistake: bool  # the user's, who can mend it


class UnitActor:
    """Runs in the actor: loads the worker once, with the first unit, then a unit per call.

    Not in the constructor: an actor that dies there is started again for ever, one that dies over a unit is not.
    """

    def __init__(self, worker: Callable[..., Worker], settings: Mapping[str, Any], store: Store):
        self._load, self._store = partial(worker, **settings), store
        self._worker: Worker | None = None
        self._broken: Failure | None = None  # why it could not be loaded: said of every unit, and not tried again

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """A batch of one row."""
        (text,) = batch["task"]
        amount, failure = 0, self._broken
        if failure is None:
            try:
                amount = self._make(Task.from_row(str(text)))
            except Exception as raised:
                failure = Failure(_said(raised), isinstance(raised, InputError))
                if self._worker is None:
                    self._broken = failure
        error, mistake = failure or Failure("", False)
        return {"task": [str(text)], "amount": [amount], "error": [error], "mistake": [mistake]}

    def _make(self, task: Task) -> int:
        loaded: dict[str, float] = {}
        started = time.monotonic()
        if self._worker is None:
            self._worker = self._load()
            loaded["load_seconds"] = round(time.monotonic() - started, 3)
            started = time.monotonic()
        product = self._worker.make(task)
        info = {**product.info, **loaded, "seconds": round(time.monotonic() - started, 3)}
        self._store.commit(task.unit, task.key, product.rows, info)
        return product.amount


def _said(error: BaseException) -> str:
    return (str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}")[:2000]


def run_units(
    label: str,
    tasks: Sequence[Task],
    worker: Callable[..., Worker],
    settings: Mapping[str, Any],
    *,
    measure: str,
    actors: int | Literal["auto"],
    store: Store,
    cluster: Cluster,
    progress: Progress,
    gpus: int = 1,
) -> None:
    """Make and commit all ``tasks`` with actors that each hold one ``worker(**settings)``.

    ``measure`` names what `Product.amount` counts. Raises once, after all units that can be made are: InputError where
    a worker did, else JobError.
    """
    if not tasks:
        return
    import ray

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # Progress says what its plan and bars would
    nodes = [node["Resources"]["CPU"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    part = share(cluster, nodes, actors, len(tasks), gpus)
    with warnings.catch_warnings():  # of remote arguments that have no other name yet
        warnings.simplefilter("ignore", DeprecationWarning)
        done = ray.data.from_items([task.to_row() for task in tasks], override_num_blocks=len(tasks)).map_batches(
            UnitActor,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=part.actors, max_tasks_in_flight_per_actor=2),
            num_cpus=part.cpus,
            num_gpus=part.gpus,
            fn_constructor_kwargs={"worker": worker, "settings": dict(settings), "store": store},
            max_task_retries=RETRIES,  # without it a unit that kills its actor does so for ever
        )
    failed: list[tuple[Unit, Failure]] = []
    amount, started = 0, time.monotonic()
    with progress.task(label, len(tasks)) as bar:
        try:
            for row in done.iter_rows():
                amount += row["amount"]
                if row["error"]:
                    failed.append((Task.from_row(row["task"]).unit, Failure(row["error"], row["mistake"])))
                bar.advance(note=f"{amount / (time.monotonic() - started):,.0f} {measure}/s")
        except ray.exceptions.RayError as error:
            rule = "a worker process died again and again, often for want of memory: see Ray's logs, then run again"
            raise JobError(f"{label}: {rule} ({_said(error).splitlines()[0]})") from error
    if failed:
        unit, failure = failed[0]
        if failure.mistake:
            raise InputError(failure.reason)
        some = f"{len(failed)} of {len(tasks)} units failed"
        raise JobError(f"{label}: {some}; {unit.folder}/{unit.shard:05d}: {failure.reason}")
