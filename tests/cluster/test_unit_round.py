"""What a round of unit jobs makes of an actor that died: whose fault it is, and whether the others go on."""

from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from detox_ray.cluster import unit_round
from detox_ray.cluster.unit_actors import PoolActor, Task
from detox_ray.cluster.unit_round import JobError, UnitRound, _Hand, _InHand
from detox_ray.storage.tables import TEXTS

TASK = Task(TEXTS.unit(language="en"), "k" * 16, ())


def actor(group: object = None) -> PoolActor:
    handle: Any = SimpleNamespace(make=SimpleNamespace(remote=lambda *_: None), where=SimpleNamespace(remote=object))
    return PoolActor(handle, group)


class Pool:
    """The actors of a round, without processes."""

    def __init__(self, *members: PoolActor):
        self.members = list(members)

    def replace(self, dead: PoolActor) -> None:
        self.members[self.members.index(dead)] = actor()


def round_of(messages: list[str], *actors: PoolActor) -> Any:
    """Return a round with these actors, as far as the loss of one needs it."""
    unit_round_: Any = UnitRound.__new__(UnitRound)
    unit_round_._label, unit_round_._specs, unit_round_._waiting = "write", [None], deque()
    unit_round_._given_up = unit_round_._failed_starts = 0
    unit_round_._deaths, unit_round_._lost_nodes = {}, set()
    unit_round_._pool = Pool(*actors)
    unit_round_._progress = SimpleNamespace(say=messages.append)
    unit_round_._hands = {actor: _Hand() for actor in actors}
    return unit_round_


@pytest.mark.parametrize(
    ("lost", "group", "deaths", "message"),
    [
        ("n2", None, 1, None),
        ("n1", None, 0, "write: the node w1 (10.0.0.1) is lost; its unit in work is made again"),
        (
            "n2",
            object(),
            0,
            "write: a node of the engine that began on w1 (10.0.0.1) is lost; its unit in work is made again",
        ),
    ],
)
def test_a_node_that_is_lost_elsewhere_excuses_no_death(
    monkeypatch: pytest.MonkeyPatch, lost: str, group: object, deaths: int, message: str | None
) -> None:
    living = {"n1", "n2"}
    monkeypatch.setattr(unit_round, "_living_nodes", lambda: frozenset(living))
    messages: list[str] = []
    dead = actor(group)
    round_ = round_of(messages, dead)
    round_._up(dead, ("n1", "w1 (10.0.0.1)"))
    round_._hands[dead].units.append(_InHand(None, 0, TASK))
    living.remove(lost)
    round_._lose(dead, RuntimeError("Worker exit detail: killed"))
    assert len(round_._deaths.get(TASK.unit, [])) == deaths
    assert messages == ([message] if message else [])
    assert list(round_._waiting) == [(0, TASK)]


def test_processes_that_do_not_start_end_the_job_only_if_no_other_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_round, "_living_nodes", lambda: frozenset({"n1"}))
    messages: list[str] = []
    lives = actor()
    round_ = round_of(messages, lives, actor())
    round_._up(lives, ("n1", "w1 (10.0.0.1)"))
    for _ in range(4):  # on a node that joined, and is not fit
        round_._lose(round_._pool.members[1], RuntimeError("no such image"))
    assert messages == ["write: 3 worker processes did not start; the last one died: no such image"]
    round_ = round_of(messages, actor())
    with pytest.raises(JobError, match="no worker process starts; the last one died: no such image"):
        for _ in range(3):
            round_._lose(round_._pool.members[0], RuntimeError("no such image"))
