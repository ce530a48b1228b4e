"""Units that wait for an actor, and those that an actor was given."""

import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from detox_ray.cluster.unit_actors import Task


class Call(NamedTuple):
    """A call that an actor was given: to load a job's worker, or to make a unit with it."""

    result: Any  # reference of what `UnitActor.load` or `UnitActor.make` returns
    job: int
    task: Task | None  # None: the call loads the worker


@dataclass
class Hand:
    """The calls that an actor was given, in the order in which it carries them out."""

    calls: deque[Call] = field(default_factory=deque)
    job: int | None = None  # whose worker the actor will hold after these calls
    loaded: int | None = None  # whose worker it is known to hold
    unable: set[int] = field(default_factory=set)  # jobs whose worker it could not load
    idle_since: float = field(default_factory=time.monotonic)
    ask_at: float | None = None  # when to ask an actor again that could not be reached
    unreachable_since: float | None = None

    @property
    def units(self) -> list[tuple[int, Task]]:
        """Return the units of these calls, each with its job."""
        return [(call.job, call.task) for call in self.calls if call.task is not None]

    def forget(self, job: int) -> list[Task]:
        """Remove a job's calls, and return their units."""
        tasks = [task for number, task in self.units if number == job]
        self.calls = deque(call for call in self.calls if call.job != job)
        self.job = self.calls[-1].job if self.calls else None
        return tasks


class UnitQueue:
    """The units of some jobs that no actor has, in the order of the jobs."""

    def __init__(self, tasks: Sequence[Sequence[Task]]):
        """Take the tasks of each job."""
        self._tasks = [deque(of_job) for of_job in tasks]

    def __len__(self) -> int:
        return sum(map(len, self._tasks))

    def take(self, hand: Hand) -> tuple[int, Task] | None:
        """Remove and return the next unit for an actor: one of the job that it has loaded, else of the first job.

        Returns:
            The job and the unit; None if all that wait are of jobs whose worker the actor cannot load.
        """
        own = [] if hand.job is None else [hand.job]
        for job in (*own, *range(len(self._tasks))):
            if self._tasks[job] and job not in hand.unable:
                return job, self._tasks[job].popleft()
        return None

    def put_back(self, units: Collection[tuple[int, Task]]) -> None:
        """Put units back in front of those that wait, in the order in which they were taken."""
        for job, task in reversed(list(units)):
            self._tasks[job].appendleft(task)

    def remove(self, job: int, task: Task) -> None:
        """Remove a unit that is not to be made."""
        self._tasks[job].remove(task)

    def clear(self, job: int) -> list[Task]:
        """Remove and return all units of a job."""
        tasks = list(self._tasks[job])
        self._tasks[job].clear()
        return tasks
