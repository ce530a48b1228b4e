"""Rounds of unit jobs with actors that die, cannot load or cannot be reached, and the cause that is blamed."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from fake_actors import FakePool, FakeRound, died, pass_time, tasks

from detox_ray.cluster import unit_round, waiting
from detox_ray.cluster.unit_actors import Task, UnitActor, UnitFailure, WorkerSpec
from detox_ray.cluster.unit_tally import JobError
from detox_ray.cluster.waiting import WaitedTooLong

MADE = (1, None)
NO_ROOM = UnitFailure("OSError: no room", False)


def answer(what: str) -> Any:
    """Return what a healthy actor answers."""
    return MADE if what == "make" else None


def test_an_actor_that_cannot_load_takes_no_units_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def act(number: int, what: str, task: Task | None) -> Any:
        if number == 0:
            return NO_ROOM if what == "load 0" else (0, UnitFailure("its worker is not loaded", False))
        made.extend([number] if task else [])
        return answer(what)

    round_ = FakeRound(monkeypatch, FakePool(act, lambda number: f"n{number + 1}"), 10)
    assert round_.run() == []
    assert made == [1] * 10
    where = "its worker cannot be loaded on node n1 (10.0.0.0): OSError: no room"
    assert round_.messages == [f"write: job0: {where}; its units go to other processes"]


def test_a_worker_that_no_actor_can_load_fails_its_job_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[tuple[int, str]] = []

    def act(number: int, what: str, task: Task | None) -> Any:
        if task is None:
            loads.append((number, what))
            return NO_ROOM if what == "load 0" else None
        return (0, UnitFailure("its worker is not loaded", False)) if task in tasks(0, 9) else MADE

    failed = FakeRound(monkeypatch, FakePool(act), 9, 3).run()
    assert len(failed) == 9 and {one.job for one in failed} == {"job0"}
    assert "cannot be loaded on node n1 (10.0.0." in failed[0].failure.reason
    assert sorted(loads)[::2] == [(0, "load 0"), (1, "load 0")] and len(loads) == 4  # each actor tries each job once


def test_a_job_that_waits_for_actors_that_never_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pass_time(monkeypatch, unit_round, waiting)
    monkeypatch.setattr(waiting, "_resources", lambda: "1 node")
    pool = FakePool(lambda number, what, task: NO_ROOM if task is None else MADE)
    round_ = FakeRound(monkeypatch, pool, 4, wait_s=1000)

    def wait(references: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        there = [reference for reference in references if reference.actor == 0]
        if not there:
            unit_round.time.sleep(1)
        return there[:1], []

    monkeypatch.setattr(ray, "wait", wait)
    failed = round_.run()
    assert len(failed) == 4 and "cannot be loaded" in failed[0].failure.reason
    assert any("waits for 1 CPU for a worker process (2 wanted); job0: its worker" in line for line in round_.messages)


def test_processes_that_die_while_they_load_cost_no_unit_its_chances(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = FakePool(lambda number, what, task: died("out of memory") if task is None else MADE)
    failed = FakeRound(monkeypatch, pool, 50, actors=1).run()
    assert pool.started == 4  # three that died, and the one that took over
    assert len(failed) == 50
    reason = "3 processes died while they loaded its worker, the last one on node n1 (10.0.0.2): out of memory"
    assert failed[0].failure.reason == reason


def test_a_few_units_that_kill_their_process_leave_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = tasks(0, 3)
    pool = FakePool(lambda number, what, task: died() if task in bad else answer(what))
    failed = FakeRound(monkeypatch, pool, 20).run()
    assert {one.unit for one in failed} == {task.unit for task in bad}
    assert "died 3 times, the last time on node n1" in failed[0].failure.reason


def test_units_that_all_kill_their_process_end_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = FakePool(lambda number, what, task: died() if task else None)
    with pytest.raises(JobError, match="5 units in a row failed; the last one, texts/language=l0/0000"):
        FakeRound(monkeypatch, pool, 1000).run()


def test_units_that_cannot_be_written_are_made_again_and_end_the_job_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    unwritten = (0, UnitFailure("no answer", False, unwritten=True))
    answers = [unwritten, unwritten, MADE, MADE]
    once = FakeRound(monkeypatch, FakePool(lambda _, what, task: answers.pop(0) if task else None), 2, actors=1)
    assert once.run() == []
    assert len(once.messages) == 2
    assert (
        "/00000 was made on node n1 (10.0.0.0), and could not be written to the storage: no answer" in once.messages[0]
    )
    always = FakeRound(monkeypatch, FakePool(lambda _, what, task: unwritten if task else None), 1000)
    with pytest.raises(JobError, match=r"3 units in a row could not be written; the last one, .* no answer"):
        always.run()


def test_an_actor_waits_for_a_storage_that_fails_and_then_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from detox_ray.cluster import unit_actors
    from detox_ray.cluster.unit_actors import Product

    pass_time(monkeypatch, unit_actors)
    failures = [OSError("no answer")] * 3
    commits: list[int] = []

    def commit(*_: Any, **__: Any) -> None:
        if failures:
            raise failures.pop()
        commits.append(1)

    worker: Any = SimpleNamespace(make=lambda task: Product(None, {}, 7))
    store: Any = SimpleNamespace(commit=commit)
    monkeypatch.setattr(ray, "get", lambda value: value)
    actor, (task,) = UnitActor(), tasks(0, 1)
    spec = [WorkerSpec(lambda: worker, store)]
    assert actor.load(spec) is None
    assert actor.make(spec, task) == (7, None)
    assert commits == [1]
    failures = [OSError("no answer")] * 99
    amount, failure = actor.make(spec, task)
    assert amount == 0 and failure == UnitFailure("OSError: no answer", False, unwritten=True)
    assert 80 < len(failures) < 99  # it tried for a minute


def test_an_actor_that_cannot_be_reached_is_waited_for_aloud_and_then_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    advance = pass_time(monkeypatch, unit_round, waiting)
    monkeypatch.setattr(waiting, "_resources", lambda: "2 nodes")
    silent: set[int] = set()

    def act(number: int, what: str, task: Task | None) -> Any:
        if number == 0 and task:
            silent.add(0)
        return unavailable(number) or answer(what)

    def unavailable(number: int) -> Exception | None:
        if number not in silent:
            return None
        advance(2)
        return ray.exceptions.ActorUnavailableError("no answer", b"\0" * 16)

    pool = FakePool(act, starts=unavailable)
    round_ = FakeRound(monkeypatch, pool, 4, actors=1, wait_s=10_000)
    assert round_.run() == []
    assert pool.started == 2
    assert any("waits for an answer of a worker process on node n1 (10.0.0.0)" in line for line in round_.messages)
    assert re.search(r"has not answered for 30\d s and is replaced; its 2 units in work are made", round_.messages[-1])


def test_actors_that_can_never_be_reached_end_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    advance = pass_time(monkeypatch, unit_round, waiting)
    monkeypatch.setattr(waiting, "_resources", lambda: "2 nodes")

    started: list[int] = []

    def unavailable(number: int) -> Exception | None:
        if number not in started:
            started.append(number)
            return None
        advance(2)
        return ray.exceptions.ActorUnavailableError("no answer", b"\0" * 16)

    pool = FakePool(lambda number, *_: unavailable(number), starts=unavailable)
    with pytest.raises(WaitedTooLong, match=r"waited 10\d s for an answer of a worker process on node n1"):
        FakeRound(monkeypatch, pool, 4, wait_s=100).run()


def test_a_unit_that_takes_long_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from detox_ray.cluster import unit_tally

    advance = pass_time(monkeypatch, unit_round, waiting, unit_tally)
    round_ = FakeRound(monkeypatch, FakePool(lambda _, what, task: answer(what)), 1, actors=1)
    take, seconds = ray.wait, [0.0]

    def wait(references: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        if references[0].what != "make" or seconds[0] > 700:
            return take(references)
        advance(10)
        seconds[0] += 10
        return [], references

    monkeypatch.setattr(ray, "wait", wait)
    assert round_.run() == []
    assert round_.messages == [
        "write: no unit has ended for 10 min; in work: texts/language=l0/00000 on node n1 (10.0.0.0)"
    ]


@pytest.mark.parametrize(
    ("lost", "message"),
    [("n2", None), ("n1", "write: the node n1 (10.0.0.0) is lost; its 2 units in work are made again")],
)
def test_a_node_that_is_lost_elsewhere_excuses_no_death(
    monkeypatch: pytest.MonkeyPatch, lost: str, message: str | None
) -> None:
    living = {"n1", "n2", "n3"}
    deaths = 0

    def act(number: int, what: str, task: Task | None) -> Any:
        nonlocal deaths
        if task == tasks(0, 1)[0] and deaths < 3:
            deaths += 1
            if lost == "n1" or deaths == 1:
                living.discard(lost)
            return died()
        return answer(what)

    pool = FakePool(act, lambda number: "n1" if number == 0 or lost == "n2" else "n3")
    round_ = FakeRound(monkeypatch, pool, 3, actors=1, living=living)
    failed = round_.run()
    # Three deaths: all of them count, unless the first one came with its node's end.
    assert len(failed) == (0 if message else 1)
    assert round_.messages == ([message] if message else [])


def test_processes_that_do_not_start_end_the_job_only_if_no_other_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(number: int) -> Exception:
        return died("no such image")

    pool = FakePool(lambda number, what, task: answer(what), starts=lambda number: broken(number) if number else None)
    round_ = FakeRound(monkeypatch, pool, 40)
    assert round_.run() == []
    assert round_.messages[0] == "write: 3 worker processes did not start; the last one died: no such image"
    with pytest.raises(JobError, match="no worker process starts; the last one died: no such image"):
        FakeRound(monkeypatch, FakePool(lambda *_: None, starts=broken), 40).run()


def test_an_actor_whose_node_leaves_finishes_its_unit_and_gets_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_round, "RESIZE_S", 0.0)
    leaving: dict[str, str] = {}
    made: list[tuple[int, Task]] = []

    def act(number: int, what: str, task: Task | None) -> Any:
        if task is not None:
            made.append((number, task))
            if number == 1:
                leaving["n1"] = "n1 (10.0.0.0)"
        return answer(what)

    pool = FakePool(act, lambda number: f"n{number + 1}")  # each on a node of its own
    round_ = FakeRound(monkeypatch, pool, 10, leaving=leaving)
    assert round_.run() == []
    before = next(place for place, (number, _) in enumerate(made) if number == 1)
    (recalled,) = round_.cancelled  # the second one in its hand
    assert [number for number, _ in made[before:]].count(0) == 1
    assert (0, recalled.task) not in made
    assert sorted(task.unit.shard for _, task in made) == list(range(10))
    assert pool.started == 3  # another one took its place
    last = "worker processes there finish the unit in work and take no other"
    assert round_.messages == [f"write: the node n1 (10.0.0.0) is about to leave the cluster; {last}"]


def test_an_actor_that_loads_for_a_node_that_leaves_is_replaced_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_round, "RESIZE_S", 0.0)
    leaving: dict[str, str] = {}
    made: list[int] = []

    def act(number: int, what: str, task: Task | None) -> Any:
        if task is not None:
            made.append(number)
        return answer(what)

    def starts(number: int) -> None:
        if number == 1:
            leaving["n1"] = "n1 (10.0.0.0)"

    round_ = FakeRound(monkeypatch, FakePool(act, lambda number: f"n{number + 1}", starts), 4, leaving=leaving)

    def wait(references: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        """Let the first actor load for ever."""
        return [one for one in references if one.actor or one.what == "where"][:1], []

    monkeypatch.setattr(ray, "wait", wait)
    assert round_.run() == []
    assert [call.what for call in round_.cancelled] == ["load"]
    assert len(made) == 4 and 0 not in made
