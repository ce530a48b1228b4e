"""What a round of unit jobs makes of an actor that died: a lost node excuses only the processes that were on it."""

from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from detox_ray.cluster import unit_round
from detox_ray.cluster.unit_actors import PoolActor, Task
from detox_ray.cluster.unit_round import UnitRound, _Hand, _InHand
from detox_ray.storage.tables import TEXTS

TASK = Task(TEXTS.unit(language="en"), "k" * 16, ())


@pytest.mark.parametrize(
    ("lost", "group", "deaths", "said"),
    [
        ("n2", None, 1, []),
        ("n1", None, 0, ["write: the node w1 (10.0.0.1) is lost; its unit in work is made again"]),
        (
            "n2",
            object(),
            0,
            ["write: a node of the engine that began on w1 (10.0.0.1) is lost; its unit in work is made again"],
        ),
    ],
)
def test_a_node_that_is_lost_elsewhere_excuses_no_death(
    monkeypatch: pytest.MonkeyPatch, lost: str, group: object, deaths: int, said: list[str]
) -> None:
    living = {"n1", "n2"}
    monkeypatch.setattr(unit_round, "_living_nodes", lambda: frozenset(living))
    unit: Any = SimpleNamespace(make=SimpleNamespace(remote=lambda *_: None), where=SimpleNamespace(remote=object))
    actor, messages = PoolActor(unit, group), []
    round_: Any = UnitRound.__new__(UnitRound)
    round_._label, round_._given_up, round_._specs = "write", 0, [None]
    round_._deaths, round_._lost_nodes, round_._waiting = {}, set(), deque()
    round_._pool = SimpleNamespace(members=[], replace=lambda _: None)
    round_._progress = SimpleNamespace(say=messages.append)
    round_._hands = {actor: _Hand()}
    round_._up(actor, ("n1", "w1 (10.0.0.1)"))
    round_._hands[actor].units.append(_InHand(None, 0, TASK))
    living.remove(lost)
    round_._lose(actor, RuntimeError("Worker exit detail: killed"))
    assert len(round_._deaths.get(TASK.unit, [])) == deaths
    assert messages == said
    assert list(round_._waiting) == [(0, TASK)]
