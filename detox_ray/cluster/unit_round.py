"""Jobs that share actors, while they are carried out: who makes what, what is lost, and what is waited for."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from detox_ray.cluster import interrupt
from detox_ray.cluster.actor_pool import Place, PoolActor, UnitActors
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.ray_internals import draining_nodes, exit_detail, node_is_lost
from detox_ray.cluster.unit_actors import Share, Task, UnitFailure, WorkerSpec
from detox_ray.cluster.unit_blame import UnitBlame, where
from detox_ray.cluster.unit_queue import Call, Hand, UnitQueue
from detox_ray.cluster.unit_tally import Failed, Job, UnitTally
from detox_ray.cluster.waiting import Waiting
from detox_ray.storage import Store

IN_HAND = 2  # units of an actor: the one that it makes, and the next, so that it need not wait for the driver
LOOK_S = 1.0  # between two looks if nothing happens
RESIZE_S = 5.0  # between two looks at the cluster's nodes
IDLE_S = 60.0  # after which an actor on a joined cluster ends if there is no unit for it
UNREACHABLE_S = 300.0  # after which an actor that cannot be reached is replaced; Ray finds a lost node in a tenth of it
OTHERS_S = 300.0  # to wait for further actors if those that are there cannot load a worker
SILENT_S = 600.0  # without a finished unit, after which a line says what is in work


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

        self._label, self._jobs, self._pool, self._progress = label, jobs, pool, progress
        self._size, self._group, self._joined = size, group, joined
        self._specs = [[ray.put(WorkerSpec(partial(job.worker, **job.settings), store))] for job in jobs]
        self._queue = UnitQueue([job.tasks for job in jobs])
        self._hands: dict[PoolActor, Hand] = {}
        self._tally = UnitTally(jobs, bar)
        self._blame = UnitBlame(label, jobs, self._queue, self._tally, progress)
        self._idleness = Waiting(label, progress, wait_s)
        self._resized = self._said = time.monotonic()
        self._share = size()

    def run(self) -> list[Failed]:
        """Make all units, and return those that failed."""
        import ray

        self._resize()
        while self._queue or any(hand.calls for hand in self._hands.values()):
            self._deal()
            answers = {actor.answer: actor for actor in self._hands if actor.answer is not None}
            # An actor carries out its calls in order, so the first one is done first, or is the one that it died of.
            oldest = {
                hand.calls[0].result: actor
                for actor, hand in self._hands.items()
                if hand.calls and actor.answer is None and hand.ask_at is None
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
                    hand, now = self._hands[actor], time.monotonic()
                    hand.ask_at, actor.answer = now + LOOK_S, None
                    hand.unreachable_since = hand.unreachable_since or now
                except ray.exceptions.RayError as error:
                    self._lose(actor, error)
                else:
                    self._up(actor, answer) if reference in answers else self._answered(actor, answer)
            self._look_around()
        self._end_idle()
        return self._tally.failed

    def _deal(self) -> None:
        """Fill the hands of the actors that are up, evenly; leave a unit for each of those that start."""
        starting = sum(actor.place is None for actor in self._hands)
        ready = [
            (actor, hand)
            for actor, hand in self._hands.items()
            if actor.answer is None and hand.ask_at is None and not hand.leaves
        ]
        for size in range(1, IN_HAND + 1):
            for actor, hand in ready:
                if len(self._queue) > (starting if size > 1 else 0) and len(hand.units) < size:
                    unit = self._queue.take(hand)
                    if unit is not None and hand.promised and unit[0] != hand.job:
                        self._queue.put_back([unit])  # until the worker is loaded that the actor loads now
                    elif unit is not None:
                        self._give(actor, hand, *unit)

    def _give(self, actor: PoolActor, hand: Hand, number: int, task: Task) -> None:
        """Let an actor make a unit; it loads the job's worker first if it holds another one."""
        if hand.job != number:
            hand.calls.append(Call(actor.handle.load.remote(self._specs[number]), number, None))
            hand.job = number
        if hand.loaded == number:
            hand.calls.append(Call(actor.handle.make.remote(self._specs[number], task), number, task))
        else:
            hand.promised.append(task)

    def _up(self, actor: PoolActor, answer: Any) -> None:
        """Note that an actor's process is up. What it was given before it could not be reached waits again."""
        if not actor.has_started:
            self._pool.place(actor)
            return
        actor.place, actor.answer = Place(*answer), None
        self._blame.started()
        actor.nodes = actor.nodes or frozenset({actor.place.node_id})
        hand = self._hands[actor]
        hand.unreachable_since = None
        self._queue.put_back(hand.take_back())
        hand.idle_since = time.monotonic()

    def _answered(self, actor: PoolActor, answer: Any) -> None:
        """Take the answer to the first call in an actor's hand."""
        hand = self._hands[actor]
        _, number, task = hand.calls.popleft()
        hand.idle_since = time.monotonic()
        if task is not None:
            self._made(actor, number, task, *answer)
        elif answer is None:
            hand.loaded = number
            self._blame.loaded(number)
            promised, hand.promised = hand.promised, deque()
            for unit in promised:
                self._give(actor, hand, number, unit)
        else:
            hand.unable.add(number)
            self._queue.put_back(hand.take_back())
            others = any(number not in other.unable for other in self._hands.values())
            self._blame.cannot_load(actor, number, answer, others)

    def _made(self, actor: PoolActor, number: int, task: Task, amount: int, failure: UnitFailure | None) -> None:
        if failure is not None and failure.unwritten:
            self._blame.not_written(actor, number, task, failure)
            return
        self._blame.made()
        self._tally.count(number, task, amount, failure)

    def _lose(self, actor: PoolActor, error: Exception) -> None:
        """Replace a dead actor; put the units in its hand back, unless the one that it was making is given up."""
        hand = self._replaced(actor)
        if node_is_lost(error) or actor.nodes - _living_nodes():
            self._blame.node_lost(actor, len(hand.units))
            return
        cause = f"{where(actor)}: {exit_detail(error)}"
        if not hand.calls and actor.place is None:
            self._blame.died_starting(cause, any(other.place is not None for other in self._hands))
        elif hand.calls:
            _, number, task = hand.calls[0]
            if task is None:
                others_loaded = any(other.loaded == number for other in self._hands.values())
                self._blame.died_loading(number, cause, others_loaded)
            else:
                self._blame.died_making(number, task, cause)

    def _leave(self, actor: PoolActor) -> None:
        """Let an actor whose node is about to leave the cluster finish the unit in work; its others wait again."""
        import ray

        hand = self._hands[actor]
        hand.leaves = True
        forgotten, units = hand.keep_unit_in_work()
        for call in forgotten:
            ray.cancel(call.result)
        self._queue.put_back(units)
        self._blame.node_leaves(actor)

    def _replaced(self, actor: PoolActor) -> Hand:
        """Start an actor in place of another one, whose units wait again. Return the hand of the old one."""
        hand = self._hands.pop(actor)
        self._pool.replace(actor)
        self._adopt()
        self._queue.put_back(hand.units)
        return hand

    def _look_around(self) -> None:
        """Ask unreachable actors again, follow the cluster's size, end idle actors, and say what is waited for."""
        now = time.monotonic()
        for actor, hand in list(self._hands.items()):
            if hand.unreachable_since is not None and now - hand.unreachable_since > UNREACHABLE_S:
                self._blame.unreachable(actor, now - hand.unreachable_since, len(self._replaced(actor).units))
            elif hand.leaves and not hand.calls:
                self._replaced(actor)
            elif hand.ask_at is not None and now >= hand.ask_at:
                hand.ask_at = None
                actor.ask()
        if now - self._resized >= RESIZE_S:
            self._resize()
        if not self._queue:
            self._end_idle()
        if self._in_work():
            self._idleness.end()
            self._say_what_takes_long(now)
            return
        self._idleness.go_on(self._wanted())
        if self._idleness.seconds > OTHERS_S:
            for number in list(self._blame.load_failures):
                self._blame.give_up(number)

    def _in_work(self) -> list[tuple[PoolActor, Hand]]:
        """Return the actors that do something, as far as is known, with their hands."""
        return [(actor, hand) for actor, hand in self._hands.items() if hand.calls and hand.unreachable_since is None]

    def _say_what_takes_long(self, now: float) -> None:
        """Say now and then what is in work if no unit has ended for long."""
        if now - max(self._tally.last, self._said) < SILENT_S:
            return
        self._said = now
        in_work = []
        for actor, hand in self._in_work()[:3]:
            _, number, task = hand.calls[0]
            call = task.unit.name if task is not None else f"loading {self._jobs[number].label}"
            in_work.append(call + where(actor))
        minutes = (now - self._tally.last) / 60
        self._progress.say(f"{self._label}: no unit has ended for {minutes:.0f} min; in work: {', '.join(in_work)}")

    def _resize(self) -> None:
        """Let the pool follow the cluster: actors on nodes that joined, and none on lost and on leaving ones."""
        self._resized = time.monotonic()
        living, draining = _living_nodes(), draining_nodes().keys()
        for actor, hand in list(self._hands.items()):
            if actor.place is None and actor.nodes - living:
                self._replaced(actor)
            elif actor.nodes & draining and not hand.leaves:
                self._leave(actor)
        if not self._queue:
            return
        share = self._size()
        in_work = any(hand.calls for hand in self._hands.values())  # it goes on as it is
        if in_work and (share.actors <= len(self._pool.members) or share != self._share._replace(actors=share.actors)):
            return
        self._share = share
        self._pool.take(share, self._group)
        self._adopt()

    def _adopt(self) -> None:
        """Have a hand for each of the pool's actors."""
        self._hands = {actor: self._hands.get(actor) or Hand() for actor in self._pool.members}

    def _end_idle(self) -> None:
        """End actors that nothing is left for: at once those that are not up; idle ones later, if others may wait."""
        now = time.monotonic()
        for actor, hand in list(self._hands.items()):
            idle = self._joined and now - hand.idle_since > IDLE_S
            if not hand.calls and (actor.place is None or idle):
                self._pool.remove(actor)
                del self._hands[actor]

    def _wanted(self) -> str:
        """Return what is waited for while nothing is in work."""
        silent = [actor for actor, hand in self._hands.items() if hand.unreachable_since is not None]
        if silent:
            return f"an answer of a worker process{where(silent[0])} ({len(silent)} cannot be reached)"
        share = self._share
        gpus = share.gpus * share.stages
        each = f"{gpus} GPU{'s' if gpus > 1 else ''}" if gpus else f"{share.cpus:g} CPU{'s' if share.cpus > 1 else ''}"
        failures = [f"; {self._jobs[number].label}: {why}" for number, why in self._blame.load_failures.items()]
        return f"{each} for a worker process ({share.actors} wanted){''.join(failures)}"


def _living_nodes() -> frozenset[str]:
    import ray

    return frozenset(node["NodeID"] for node in ray.nodes() if node["Alive"])
