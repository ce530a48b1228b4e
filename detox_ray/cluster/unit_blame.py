"""Whose fault it is if a unit is not made: the unit's, its worker's, the node's or the storage's.

Only a unit that kills one process after another is given up by itself. A worker that one process cannot load may be
loaded by another, on a node with more room. A node that is lost or leaves is nobody's fault.
"""

from collections.abc import Sequence

from detox_ray.cluster.actor_pool import PoolActor
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.unit_actors import Task, UnitFailure
from detox_ray.cluster.unit_queue import UnitQueue
from detox_ray.cluster.unit_tally import Job, JobError, UnitTally
from detox_ray.storage import Unit

DEATHS = 3  # of processes that made the same unit, or that loaded the same worker; then it is given up
GIVEN_UP = 5  # units in a row of which each killed that many processes: then none can be made
UNWRITTEN = 3  # units in a row that were made and could not be written


class UnitBlame:
    """Counts deaths and failures, and decides what is given up."""

    def __init__(self, label: str, jobs: Sequence[Job], queue: UnitQueue, tally: UnitTally, progress: Progress):
        self._label, self._jobs, self._queue, self._tally, self._progress = label, jobs, queue, tally, progress
        self.load_failures: dict[int, str] = {}  # job -> where and why its worker could not be loaded
        self._deaths: dict[Unit, int] = {}  # unit -> processes that died while they made it
        self._load_deaths: dict[int, int] = {}  # job -> processes in a row that died while they loaded its worker
        self._lost_nodes: set[str] = set()
        self._leaving_nodes: set[str] = set()
        self._given_up = self._unwritten = 0  # units in a row; nothing was made between them
        self._failed_starts = 0  # of processes, in a row

    def started(self) -> None:
        """Note that a process is up."""
        self._failed_starts = 0

    def loaded(self, number: int) -> None:
        """Note that a worker of the job ``number`` is loaded."""
        self._load_deaths[number] = 0

    def made(self) -> None:
        """Note that a unit was made, or that its worker raised an exception: the process lives, and can write."""
        self._given_up = self._unwritten = 0

    def not_written(self, actor: PoolActor, number: int, task: Task, failure: UnitFailure) -> None:
        """Put back a unit that was made and could not be written.

        Raises:
            JobError: It is the third one in a row.
        """
        self._given_up, self._unwritten = 0, self._unwritten + 1
        what = f"{task.unit.name} was made{where(actor)}, and could not be written to the storage: {failure.reason}"
        if self._unwritten >= UNWRITTEN:
            raise JobError(f"{self._label}: {UNWRITTEN} units in a row could not be written; the last one, {what}")
        self._progress.say(f"{self._label}: {what}; it is made again")
        self._queue.put_back([(number, task)])

    def cannot_load(self, actor: PoolActor, number: int, failure: UnitFailure, others: bool) -> None:
        """Leave a job to other actors, or give it up: if the user can correct it, or if there are no ``others``."""
        self.load_failures[number] = f"its worker cannot be loaded{where(actor)}: {failure.reason}"
        if failure.mistake or not others:
            self.give_up(number, failure if failure.mistake else None)
        else:
            job = self._jobs[number].label
            self._progress.say(f"{self._label}: {job}: {self.load_failures[number]}; its units go to other processes")

    def give_up(self, number: int, failure: UnitFailure | None = None) -> None:
        """Let all units of a job fail that no actor has."""
        reason = self.load_failures.pop(number)
        for task in self._queue.clear(number):
            self._tally.count(number, task, 0, failure or UnitFailure(reason, False))

    def died_starting(self, cause: str, others_live: bool) -> None:
        """Count a process that died before it was up.

        Raises:
            JobError: It is the third one in a row, and no other lives.
        """
        self._failed_starts += 1
        if self._failed_starts >= DEATHS and not others_live:
            raise JobError(f"{self._label}: no worker process starts; the last one died{cause}")
        if self._failed_starts == DEATHS:  # a node that joined may be at fault
            self._progress.say(f"{self._label}: {DEATHS} worker processes did not start; the last one died{cause}")

    def died_loading(self, number: int, cause: str, others_loaded: bool) -> None:
        """Count a process that died while it loaded the worker of the job ``number``."""
        deaths = self._load_deaths[number] = self._load_deaths.get(number, 0) + 1
        if deaths < DEATHS:
            return
        self.load_failures[number] = f"{deaths} processes died while they loaded its worker, the last one{cause}"
        if not others_loaded:
            self.give_up(number)
        elif deaths == DEATHS:
            self._progress.say(f"{self._label}: {self._jobs[number].label}: {self.load_failures[number]}")

    def died_making(self, number: int, task: Task, cause: str) -> None:
        """Count a process that died while it made a unit, which waits again; give the unit up after the third one.

        Raises:
            JobError: It is the fifth unit in a row that is given up.
        """
        self._deaths[task.unit] = self._deaths.get(task.unit, 0) + 1
        if self._deaths[task.unit] < DEATHS:
            return
        self._queue.remove(number, task)
        reason = f"the worker process that made it died {DEATHS} times, the last time{cause}"
        self._tally.count(number, task, 0, UnitFailure(reason, False))
        self._given_up += 1
        if self._given_up >= GIVEN_UP:  # not a few bad units: no process lives here
            raise JobError(f"{self._label}: {GIVEN_UP} units in a row failed; the last one, {task.unit.name}: {reason}")

    def node_lost(self, actor: PoolActor, units: int) -> None:
        """Say that an actor's node is lost, once for each node."""
        if actor.place is None or actor.place.node_id in self._lost_nodes:
            return
        self._lost_nodes.add(actor.place.node_id)
        self._progress.say(f"{self._label}: {_node_of(actor, actor.place.name)} is lost; {_made_again(units)}")

    def node_leaves(self, actor: PoolActor) -> None:
        """Say that an actor's node is about to leave the cluster, once for each node."""
        if actor.place is None or actor.place.node_id in self._leaving_nodes:
            return
        self._leaving_nodes.add(actor.place.node_id)
        last = "worker processes there finish the unit in work and take no other"
        self._progress.say(f"{self._label}: {_node_of(actor, actor.place.name)} is about to leave the cluster; {last}")

    def unreachable(self, actor: PoolActor, seconds: float, units: int) -> None:
        """Say that an actor is replaced because it has not answered for so long."""
        silent = f"a worker process{where(actor)} has not answered for {seconds:.0f} s and is replaced"
        self._progress.say(f"{self._label}: {silent}; {_made_again(units)}")


def where(actor: PoolActor) -> str:
    """Return the node of an actor as a part of a message; "" if it is not known."""
    return f" on node {actor.place.name}" if actor.place else ""


def _node_of(actor: PoolActor, name: str) -> str:
    """Return the words for an actor's node, or for one of the nodes of its engine."""
    return f"the node {name}" if actor.group is None else f"a node of the engine that began on {name}"


def _made_again(units: int) -> str:
    if not units:
        return "no unit was in work there"
    return "its unit in work is made again" if units == 1 else f"its {units} units in work are made again"
