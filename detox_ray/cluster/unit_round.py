"""Jobs that share actors, while they are carried out: who makes what, what is lost, and what is waited for."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

from detox_ray.cluster import interrupt
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.ray_internals import exit_detail, node_is_lost
from detox_ray.cluster.unit_actors import (
    Place,
    PoolActor,
    Share,
    Task,
    UnitActors,
    UnitFailure,
    Worker,
    WorkerSpec,
)
from detox_ray.cluster.waiting import Waiting
from detox_ray.storage import Store, Unit

DEATHS = 3  # of processes that made the same unit; then it is given up
IN_HAND = 2  # units of an actor: the one that it makes, and the next, so that it need not wait for the driver
LOOK_S = 1.0  # between two looks if nothing happens
RESIZE_S = 5.0  # between two looks at the cluster's nodes
IDLE_S = 60.0  # after which an actor on a joined cluster ends if there is no unit for it


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


class _InHand(NamedTuple):
    """A unit that an actor was given."""

    result: Any  # reference of what `UnitActor.make` returns
    job: int
    task: Task


@dataclass
class _Hand:
    """The units that an actor was given, in the order in which it makes them."""

    units: deque[_InHand] = field(default_factory=deque)
    idle_since: float = field(default_factory=time.monotonic)
    ask_at: float | None = None  # when to ask an actor again that could not be reached


class UnitRound:
    """Carries out jobs that share actors."""

    def __init__(
        self,
        label: str,
        jobs: Sequence[Job],
        store: Store,
        pool: UnitActors,
        size: Callable[[], Share],
        group: str,
        bar: Any,
        progress: Progress,
        wait_s: float,
        joined: bool,
    ):
        """Prepare the jobs.

        Args:
            label: What progress and messages call them.
            jobs: The jobs.
            store: Where actors read and commit.
            pool: The actors.
            size: Returns how many actors there may be, and what each reserves, on the nodes that are there now.
            group: Name of the jobs that must have processes of their own; "" for all that share theirs.
            bar: The task of ``progress`` that counts units.
            progress: Where lost nodes, and what is waited for, are shown.
            wait_s: Seconds to wait for the first actor, or for the next one after all are lost.
            joined: Whether others may use the cluster, so that idle actors end.
        """
        import ray

        self._label, self._jobs, self._pool, self._bar, self._progress = label, jobs, pool, bar, progress
        self._size, self._group, self._joined = size, group, joined
        self._specs = [[ray.put(WorkerSpec(partial(job.worker, **job.settings), store))] for job in jobs]
        self._waiting = deque((number, task) for number, job in enumerate(jobs) for task in job.tasks)
        self._hands: dict[PoolActor, _Hand] = {}
        self._deaths: dict[Unit, list[str]] = {}  # unit -> where and how each process died that made it
        self._lost_nodes: set[str] = set()
        self._given_up = 0  # units in a row; nothing was made between them
        self._failed_starts = 0  # of processes, in a row
        self._failed: list[Failed] = []
        self._amounts, self._begun, self._now = [0] * len(jobs), [0.0] * len(jobs), time.monotonic()
        self._begun[0] = self._resized = self._now
        self._idleness = Waiting(label, progress, wait_s)
        self._share = size()

    def run(self) -> list[Failed]:
        """Make all units, and return those that failed."""
        import ray

        self._resize()
        while self._waiting or any(hand.units for hand in self._hands.values()):
            self._deal()
            answers = {actor.answer: actor for actor in self._hands if actor.answer is not None}
            # An actor makes its units in order, so the first in its hand is done first, or is the one that it died of.
            oldest = {
                hand.units[0].result: actor
                for actor, hand in self._hands.items()
                if hand.units and actor.answer is None and hand.ask_at is None
            }
            if pending := [*answers, *oldest]:
                done, _ = ray.wait(pending, num_returns=1, timeout=LOOK_S)
            else:
                time.sleep(LOOK_S)
                done = []
            interrupt.check()
            for reference in done:
                actor = answers.get(reference) or oldest[reference]
                try:
                    answer = ray.get(reference)
                except ray.exceptions.ActorUnavailableError:
                    # Its node may be lost, which Ray does not know yet, or only slow: ask until it is known.
                    self._hands[actor].ask_at, actor.answer = time.monotonic() + LOOK_S, None
                except ray.exceptions.RayError as error:
                    self._lose(actor, error)
                else:
                    self._up(actor, answer) if reference in answers else self._made(actor, answer)
            self._look_around()
        self._end_idle()
        return self._failed

    def _deal(self) -> None:
        """Fill the hands of the actors that are up, evenly; leave a unit for each of those that start."""
        starting = sum(actor.place is None for actor in self._hands)
        ready = [(actor, hand) for actor, hand in self._hands.items() if actor.answer is None and hand.ask_at is None]
        for size in range(1, IN_HAND + 1):
            for actor, hand in ready:
                if len(self._waiting) > (starting if size > 1 else 0) and len(hand.units) < size:
                    number, task = self._waiting.popleft()
                    hand.units.append(self._give(actor, number, task))

    def _give(self, actor: PoolActor, number: int, task: Task) -> _InHand:
        return _InHand(actor.handle.make.remote(self._specs[number], task), number, task)

    def _up(self, actor: PoolActor, answer: tuple[str, str]) -> None:
        """Note that an actor's process is up; give it again what it was given before it could not be reached."""
        actor.place, actor.answer, self._failed_starts = Place(*answer), None, 0
        # Its processes are on its own node, or, if it has a placement group, on nodes that it does not name.
        actor.nodes = actor.nodes or (_living_nodes() if actor.group is not None else frozenset({actor.place.node_id}))
        hand = self._hands[actor]
        hand.units = deque(self._give(actor, number, task) for _, number, task in hand.units)
        hand.idle_since = time.monotonic()

    def _made(self, actor: PoolActor, answer: tuple[int, UnitFailure | None]) -> None:
        hand = self._hands[actor]
        _, number, task = hand.units.popleft()
        self._given_up = 0
        hand.idle_since = time.monotonic()
        self._count(number, task, *answer)

    def _lose(self, actor: PoolActor, error: Exception) -> None:
        """Replace a dead actor; put the units in its hand back, unless the one that it was making is given up."""
        units = self._hands.pop(actor).units
        self._pool.replace(actor)
        self._adopt()
        self._waiting.extendleft((number, task) for _, number, task in reversed(units))
        if node_is_lost(error) or actor.nodes - _living_nodes():
            self._say_lost(actor, len(units))
            return
        where = f" on node {actor.place.name}" if actor.place else ""
        cause = f"{where}: {exit_detail(error)}"
        if not units:  # it died while it started, or idle
            self._failed_starts += actor.place is None
            if self._failed_starts >= DEATHS and all(other.place is None for other in self._hands):
                raise JobError(f"{self._label}: no worker process starts; the last one died{cause}")
            if self._failed_starts == DEATHS:  # a node that joined may be at fault
                self._progress.say(f"{self._label}: {DEATHS} worker processes did not start; the last one died{cause}")
            return
        number, task = self._waiting[0]
        deaths = self._deaths.setdefault(task.unit, [])
        deaths.append(cause)
        if len(deaths) < DEATHS:
            return
        self._waiting.popleft()
        reason = f"the worker process that made it died {DEATHS} times, the last time{cause}"
        self._count(number, task, 0, UnitFailure(reason, False))
        self._given_up += 1
        if self._given_up > 1:  # not one bad unit: no process lives here
            raise JobError(f"{self._label}: {task.unit.name}: {reason}")

    def _say_lost(self, actor: PoolActor, units: int) -> None:
        if actor.place is not None and actor.place.node_id not in self._lost_nodes:
            self._lost_nodes.add(actor.place.node_id)
            what = "no unit was in work there"
            if units:
                what = "its unit in work is made again" if units == 1 else f"its {units} units in work are made again"
            where = f"the node {actor.place.name}"
            if actor.group is not None:
                where = f"a node of the engine that began on {actor.place.name}"
            self._progress.say(f"{self._label}: {where} is lost; {what}")

    def _look_around(self) -> None:
        """Ask unreachable actors again, follow the cluster's size, end idle actors, and say what is waited for."""
        now = time.monotonic()
        for actor, hand in self._hands.items():
            if hand.ask_at is not None and now >= hand.ask_at:
                hand.ask_at = None
                actor.ask()
        if now - self._resized >= RESIZE_S:
            self._resize()
        if not self._waiting:
            self._end_idle()
        if any(hand.units for hand in self._hands.values()):
            self._idleness.end()
        else:
            self._idleness.go_on(self._wanted())

    def _resize(self) -> None:
        """Let the pool follow the cluster: more actors on nodes that joined."""
        self._resized = time.monotonic()
        if not self._waiting:
            return
        share = self._size()
        in_work = any(hand.units for hand in self._hands.values())  # it goes on as it is
        if in_work and (share.actors <= len(self._pool.members) or share != self._share._replace(actors=share.actors)):
            return
        self._share = share
        self._pool.take(share, self._group)
        self._adopt()

    def _adopt(self) -> None:
        """Have a hand for each of the pool's actors."""
        self._hands = {actor: self._hands.get(actor) or _Hand() for actor in self._pool.members}

    def _end_idle(self) -> None:
        """End actors that nothing is left for: at once those that are not up; idle ones later, if others may wait."""
        now = time.monotonic()
        for actor, hand in list(self._hands.items()):
            idle = self._joined and now - hand.idle_since > IDLE_S
            if not hand.units and (actor.place is None or idle):
                self._pool.remove(actor)
                del self._hands[actor]

    def _wanted(self) -> str:
        share = self._share
        gpus = share.gpus * share.stages
        each = f"{gpus} GPU{'s' if gpus > 1 else ''}" if gpus else f"{share.cpus:g} CPU{'s' if share.cpus > 1 else ''}"
        return f"{each} for a worker process ({share.actors} wanted)"

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


def _living_nodes() -> frozenset[str]:
    import ray

    return frozenset(node["NodeID"] for node in ray.nodes() if node["Alive"])
