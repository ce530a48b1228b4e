"""Which failures of a training count: not those that a lost or a leaving node explains."""

import pickle
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.train.v2._internal.execution.failure_handling import FailureDecision
from ray.train.v2.api.config import FailureConfig
from ray.train.v2.api.exceptions import WorkerGroupError

from detox_ray.cluster import ray_internals
from detox_ray.cluster.ray_internals import NODE_LOSS_S, NodeLeavesError, NodeLossPolicy


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Nodes of a cluster, each with the time at which Ray finds that it is lost; `now` is the time."""
    ends = {"n1": float("inf"), "n2": float("inf"), "now": 0.0}

    def nodes() -> list[dict[str, Any]]:
        alive = {name: end > ends["now"] for name, end in ends.items() if name != "now"}
        return [
            {"NodeID": name, "Alive": lives, "NodeManagerHostname": name, "NodeManagerAddress": "10.0.0.1"}
            for name, lives in alive.items()
        ]

    def sleep(seconds: float) -> None:
        ends["now"] += seconds

    monkeypatch.setattr(ray, "nodes", nodes)
    monkeypatch.setattr(ray_internals, "time", SimpleNamespace(monotonic=lambda: ends["now"], sleep=sleep))
    return ends


def failure(message: str) -> WorkerGroupError:
    return WorkerGroupError(message, {0: RuntimeError(message)})


def test_a_failure_of_a_peer_is_excused_once_its_node_is_known_to_be_lost(cluster: dict[str, float]) -> None:
    policy = NodeLossPolicy(FailureConfig(max_failures=0))
    cluster["n2"] = 20.0  # Ray finds it then
    assert policy.make_decision(failure("connection closed by peer")) is FailureDecision.RETRY
    assert 20 <= cluster["now"] < 30
    assert policy.make_decision(failure("an error of its own")) is FailureDecision.RAISE


def test_a_failure_without_a_lost_node_counts(cluster: dict[str, float]) -> None:
    policy = NodeLossPolicy(FailureConfig(max_failures=1))
    assert policy.make_decision(failure("an error of its own")) is FailureDecision.RETRY
    assert policy.make_decision(failure("an error of its own")) is FailureDecision.RAISE
    assert cluster["now"] <= 2 * NODE_LOSS_S + 2


def test_on_one_machine_nothing_is_waited_for(cluster: dict[str, float]) -> None:
    del cluster["n2"]
    policy = NodeLossPolicy(FailureConfig(max_failures=0))
    assert policy.make_decision(failure("an error of its own")) is FailureDecision.RAISE
    assert cluster["now"] == 0


def test_a_death_that_ray_ascribes_to_its_node_is_excused_at_once(cluster: dict[str, float]) -> None:
    policy = NodeLossPolicy(FailureConfig(max_failures=0))
    assert policy.make_decision(failure("its node has died: n2")) is FailureDecision.RETRY
    assert cluster["now"] == 0


def test_trainers_made_in_this_process_have_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.train.v2.api import data_parallel_trainer

    monkeypatch.setattr(data_parallel_trainer, "create_failure_policy", data_parallel_trainer.create_failure_policy)
    ray_internals.excuse_lost_nodes()
    assert data_parallel_trainer.create_failure_policy is NodeLossPolicy


def test_workers_that_stop_because_a_node_leaves_are_excused_at_once_and_the_loss_of_that_node_excuses_nothing_else(
    cluster: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = NodeLossPolicy(FailureConfig(max_failures=0))
    monkeypatch.setattr(ray_internals, "draining_nodes", lambda: {"n2": "n2 (10.0.0.1)"})
    arrived = pickle.loads(pickle.dumps(NodeLeavesError()))  # from a worker, in the controller
    stopped = WorkerGroupError("stopped", {0: arrived})
    assert policy.make_decision(stopped) is FailureDecision.RETRY
    assert cluster["now"] == 0
    cluster["n2"] = 0.0  # it has left
    assert policy.make_decision(failure("an error of its own")) is FailureDecision.RAISE
