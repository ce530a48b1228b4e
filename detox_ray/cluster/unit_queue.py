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
    """The calls that an actor was given, in the order in which it carries them out.

    Units whose worker is not loaded yet are promised to the actor, and no call: if it dies, it is known of what.
    """

    calls: deque[Call] = field(default_factory=deque)
    promised: deque[Task] = field(default_factory=deque)  # of the job `job`
    job: int | None = None  # whose worker the actor will hold after these calls
    loaded: int | None = None  # whose worker it is known to hold
    unable: set[int] = field(default_factory=set)  # jobs whose worker it could not load
    idle_since: float = field(default_factory=time.monotonic)
    ask_at: float | None = None  # when to ask an actor again that could not be reached
    unreachable_since: float | None = None
    leaves: bool = False  # whether the actor's node is about to leave the cluster, so that it gets no more units

    @property
    def units(self) -> list[tuple[int, Task]]:
        """Return the units of these calls and those that are promised, each with its job."""
        called = [(call.job, call.task) for call in self.calls if call.task is not None]
        return called + [(self.job, task) for task in self.promised if self.job is not None]

    def take_back(self) -> list[tuple[int, Task]]:
        """Forget all calls, what is promised and what is loaded. Return the units."""
        units = self.units
        self.calls.clear()
        self.promised.clear()
        self.job = self.loaded = None
        return units

    def keep_unit_in_work(self) -> tuple[list[Call], list[tuple[int, Task]]]:
        """Forget all but the unit that the actor makes now. Return the forgotten calls, and the units not in work."""
        in_work = 1 if self.calls and self.calls[0].task is not None else 0
        units = self.units[in_work:]
        self.promised.clear()
        forgotten = [self.calls.pop() for _ in range(len(self.calls) - in_work)]
        return forgotten, units


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
