"""The jobs of a round, what is done of them, and what has failed."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from detox_ray.cluster.unit_actors import Task, UnitFailure, Worker
from detox_ray.storage import Unit


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
    gpus: int = 1  # per actor, or per stage of its engine, if the run uses GPUs; 0: the worker has no use for one
    alone: bool = False  # on a GPU in processes of its own, as it does not give the memory back
    stages: int = 1  # of an engine whose layers are spread over several nodes


class Failed(NamedTuple):
    """A unit that was not made."""

    job: str
    unit: Unit
    failure: UnitFailure


class UnitTally:
    """Counts the units that are made or have failed, and shows the count in the progress bar."""

    def __init__(self, jobs: Sequence[Job], bar: Any):
        self.failed: list[Failed] = []
        self.last = time.monotonic()  # when a unit ended last
        self._jobs, self._bar = jobs, bar
        self._amounts = [0] * len(jobs)
        self._begun = [self.last] + [0.0] * (len(jobs) - 1)

    def count(self, number: int, task: Task, amount: int, failure: UnitFailure | None) -> None:
        """Report a unit of the job ``number`` that is made or has failed."""
        job = self._jobs[number]
        self._begun[number] = self._begun[number] or self.last  # a job begins when the unit before its first one ended
        self.last = time.monotonic()
        self._amounts[number] += amount
        if failure:
            self.failed.append(Failed(job.label, task.unit, failure))
        rate = self._amounts[number] / max(self.last - self._begun[number], 1e-9)
        note = f"{job.label}, {rate:,.0f} {job.measure}/s"
        self._bar.advance(0 if failure else 1, f"{note}, {len(self.failed)} failed" if self.failed else note)
