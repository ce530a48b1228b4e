"""Unit jobs: pending units go to actors that load a model once and commit what they make.

A result never passes through the driver: the actor reads its inputs from the store and commits its product itself, and
what it returns says only how much was done. So a killed actor, node or job loses the units in flight and no more; they
are made again, and a commit made twice is the same commit.

An exception is returned, not raised: the other units are finished, and the job then raises one error. If a worker
process dies, a new one takes over; the unit that it was making is tried `RETRIES` more times.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import groupby
from typing import Any, Literal, NamedTuple

from detox_ray.cluster import interrupt
from detox_ray.cluster.connection import Cluster
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.unit_actors import (
    Product,
    Share,
    Task,
    UnitActors,
    UnitFailure,
    Worker,
    WorkerSpec,
    shortened,
)
from detox_ray.config import InputError
from detox_ray.storage import Store, Unit

__all__ = ["Job", "JobError", "Product", "Share", "Task", "UnitActors", "Worker", "run_jobs", "share"]

RETRIES = 3  # of a unit whose actor died
CPUS_PER_ACTOR = 4  # if the number of actors is "auto"
IN_HAND = 2  # units of an actor: the one that it makes, and the next, so that it need not wait for the driver
LOST = "a worker process died again and again, often because memory ran out: see Ray's logs, then run again"


class JobError(RuntimeError):
    """Units failed; the others are committed."""


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


class Failed(NamedTuple):
    """A unit that was not made."""

    job: str
    unit: Unit
    failure: UnitFailure


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


def run_jobs(
    label: str,
    jobs: Sequence[Job],
    *,
    store: Store,
    cluster: Cluster,
    progress: Progress,
    actors: UnitActors | None = None,
) -> None:
    """Make and commit all tasks of ``jobs``, in their order, with actors that each hold one worker at a time.

    Jobs that want the same GPUs share their actors: starting a process and importing torch takes longer than many jobs.

    Args:
        label: Name of the jobs in progress and messages.
        jobs: The jobs.
        store: Where actors read and commit.
        cluster: The connected Ray.
        progress: Shows how many units are done.
        actors: A pool that is kept for later jobs; None: one that ends with these.

    Raises:
        InputError: A worker raised it.
        JobError: A unit could not be made. All units that can be made are committed first.
    """

    def pool(job: Job) -> tuple[str, int, str]:
        """Return what jobs that share their actors have in common."""
        gpus, alone = (job.gpus, job.label if job.alone else "") if cluster.gpus else (0, "")
        return str(job.actors), gpus, alone

    jobs = [job for job in jobs if job.tasks]
    failed: list[Failed] = []
    units = sum(len(job.tasks) for job in jobs)
    with (
        progress.task(label, units) if jobs else nullcontext() as bar,
        UnitActors() if actors is None else nullcontext(actors) as kept,
    ):
        for (_, gpus, alone), members in groupby(sorted(jobs, key=pool), key=pool):
            together = list(members)
            count = sum(len(job.tasks) for job in together)
            part = share(cluster, _cpus_of_nodes(), together[0].actors, count, gpus)
            failed += _Round(together, store, kept, kept.take(part, alone), bar).run()
    if failed:
        first = next((one for one in failed if one.failure.mistake), failed[0])
        some = f"{len(failed)} of {units} units failed"
        if first.failure.mistake:
            raise InputError(f"{first.failure.reason} ({first.job}: {some})")
        raise JobError(f"{first.job}: {some}; {first.unit.name}: {first.failure.reason}")


def _cpus_of_nodes() -> list[float]:
    import ray

    return [node["Resources"]["CPU"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]


class _Round:
    """Jobs that share actors, while they are carried out."""

    def __init__(self, jobs: Sequence[Job], store: Store, pool: UnitActors, actors: Sequence[Any], bar: Any):
        import ray

        self._jobs, self._pool, self._bar = jobs, pool, bar
        self._specs = [[ray.put(WorkerSpec(partial(job.worker, **job.settings), store))] for job in jobs]
        self._waiting = deque((number, task) for number, job in enumerate(jobs) for task in job.tasks)
        # Of each actor the units in its hand, in the order in which it makes them: result's reference, job, task.
        self._hands: dict[Any, deque[tuple[Any, int, Task]]] = {actor: deque() for actor in actors}
        self._deaths: Counter[Unit] = Counter()
        self._given_up = 0  # units in a row, none made between them
        self._failed: list[Failed] = []
        self._amounts, self._begun, self._now = [0] * len(jobs), [0.0] * len(jobs), time.monotonic()
        self._begun[0] = self._now

    def run(self) -> list[Failed]:
        """Make all units, and return those that failed."""
        import ray

        while self._deal():
            # An actor makes its units in order, so the first in its hand is done first, or is the one that it died of.
            oldest = {hand[0][0]: actor for actor, hand in self._hands.items() if hand}
            done, _ = ray.wait(list(oldest), num_returns=1, timeout=1.0)
            interrupt.check()
            for result in done:
                try:
                    amount, failure = ray.get(result)
                except ray.exceptions.RayError as error:
                    self._lost(oldest[result], error)
                    continue
                _, number, task = self._hands[oldest[result]].popleft()
                self._given_up = 0
                self._count(number, task, amount, failure)
        return self._failed

    def _deal(self) -> bool:
        """Fill the actors' hands, evenly. Return whether there is anything in them."""
        for size in range(1, IN_HAND + 1):
            for actor, hand in self._hands.items():
                if self._waiting and len(hand) < size:
                    number, task = self._waiting.popleft()
                    hand.append((actor.make.remote(self._specs[number], task), number, task))
        return any(self._hands.values())

    def _lost(self, actor: Any, error: Exception) -> None:
        """Replace a dead actor; put the units in its hand back, unless the one that it was making is given up."""
        (_, number, task), *rest = self._hands.pop(actor)
        self._waiting.extendleft((number, task) for _, number, task in reversed(rest))
        self._deaths[task.unit] += 1
        if self._deaths[task.unit] <= RETRIES:
            self._waiting.appendleft((number, task))
        else:
            reason = f"{LOST} ({shortened(error).splitlines()[0]})"
            self._count(number, task, 0, UnitFailure(reason, False))
            self._given_up += 1
            if self._given_up > 1:  # not one bad unit: no process lives here
                raise JobError(f"{self._bar.label}: {reason}")
        self._hands[self._pool.replace(actor)] = deque()

    def _count(self, number: int, task: Task, amount: int, failure: UnitFailure | None) -> None:
        """Report a unit that is made or has failed."""
        job = self._jobs[number]
        self._begun[number] = self._begun[number] or self._now  # a job begins when the unit before its first one ended
        self._now = time.monotonic()
        self._amounts[number] += amount
        if failure:
            self._failed.append(Failed(job.label, task.unit, failure))
        rate = self._amounts[number] / max(self._now - self._begun[number], 1e-9)
        note = f"{job.label}, {rate:,.0f} {job.measure}/s"
        self._bar.advance(0 if failure else 1, f"{note}, {len(self._failed)} failed" if self._failed else note)
