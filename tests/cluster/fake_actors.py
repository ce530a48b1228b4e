"""Actors without processes, for `UnitRound`: what each does with a call is a function of the test's."""

import time
from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import ray

from detox_ray.cluster import unit_round
from detox_ray.cluster.actor_pool import PoolActor
from detox_ray.cluster.unit_actors import Share, Task
from detox_ray.cluster.unit_round import UnitRound
from detox_ray.cluster.unit_tally import Failed, Job
from detox_ray.storage.tables import TEXTS

Act = Callable[[int, str, Task | None], Any]  # (actor, "load JOB" or "make", unit) -> the answer, or an exception


class Reference(NamedTuple):
    """The result of a call, which is carried out when it is asked for."""

    actor: int  # its number, in the order of their starts
    what: str  # where, load or make
    task: Task | None
    carry_out: Callable[[], Any]

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


class FakePool:
    """A pool whose actors, by number in the order of their starts, do what ``act`` says."""

    def __init__(
        self,
        act: Act,
        nodes: Callable[[int], str] = lambda number: "n1",
        starts: Callable[[int], Exception | None] = lambda number: None,
    ):
        self.members: list[PoolActor] = []
        self.started = 0
        self._act, self._nodes, self._starts = act, nodes, starts

    def _start(self) -> PoolActor:
        number, node = self.started, self._nodes(self.started)
        self.started += 1

        def call(what: str) -> Any:
            def remote(spec: list[int], task: Task | None = None) -> Reference:
                said = what if task else f"{what} {spec[0]}"
                return Reference(number, what, task, lambda: self._act(number, said, task))

            return SimpleNamespace(remote=remote)

        place = (node, f"{node} (10.0.0.{number})")
        where = SimpleNamespace(remote=lambda: Reference(number, "where", None, lambda: self._starts(number) or place))
        handle: Any = SimpleNamespace(where=where, load=call("load"), make=call("make"))
        return PoolActor(handle)

    def take(self, share: Share, group: str) -> None:
        while len(self.members) < share.actors:
            self.members.append(self._start())

    def replace(self, dead: PoolActor) -> None:
        self.members[self.members.index(dead)] = self._start()

    def remove(self, actor: PoolActor) -> None:
        self.members.remove(actor)


def died(how: str = "killed") -> Exception:
    """Return the error of a call to an actor whose process died."""
    return ray.exceptions.RaySystemError(f"Worker exit detail: {how}")


class FakeRound:
    """A round of jobs on such actors; what it printed is in ``messages``."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        pool: FakePool,
        *units: int,
        actors: int = 2,
        living: set[str] | None = None,
        wait_s: float = 100,
        leaving: dict[str, str] | None = None,
    ):
        def get(reference: Reference) -> Any:
            answer = reference.carry_out()
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(unit_round, "partial", lambda *_, **__: None)
        jobs_put, turns = count(), count()

        def wait(pending: list[Reference], **_: Any) -> tuple[list[Reference], list[Reference]]:
            turn = next(turns) % len(pending)  # so that each actor has its turn
            return [pending[turn]], [*pending[:turn], *pending[turn + 1 :]]

        monkeypatch.setattr(ray, "put", lambda _: next(jobs_put))
        monkeypatch.setattr(ray, "get", get)
        monkeypatch.setattr(ray, "wait", wait)
        living = {"n1", "n2"} if living is None else living
        monkeypatch.setattr(unit_round, "_living_nodes", lambda: frozenset(living))
        monkeypatch.setattr(unit_round, "draining_nodes", lambda: leaving or {})
        self.cancelled: list[Reference] = []
        monkeypatch.setattr(ray, "cancel", self.cancelled.append)
        self.messages: list[str] = []
        progress: Any = SimpleNamespace(say=self.messages.append)
        bar = SimpleNamespace(advance=lambda *_: None)
        worker: Any = None
        jobs = [Job(f"job{number}", tasks(number, many), worker, {}, "rows") for number, many in enumerate(units)]
        share = Share(actors, 1, 0)
        store: Any = None
        self.pool = pool
        self.round = UnitRound("write", jobs, store, pool, lambda: share, "", bar, progress, wait_s, False)  # type: ignore[arg-type]

    def run(self) -> list[Failed]:
        return self.round.run()


def tasks(job: int, number: int) -> list[Task]:
    return [Task(TEXTS.unit(language=f"l{job}", shard=shard), "k" * 16, ()) for shard in range(number)]


def pass_time(monkeypatch: pytest.MonkeyPatch, *modules: Any) -> Callable[[float], None]:
    """Give modules a clock that only the returned function moves."""
    now = [time.monotonic()]

    def advance(seconds: float) -> None:
        now[0] += seconds

    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=advance)
    for module in modules:
        monkeypatch.setattr(module, "time", clock)
    return advance
