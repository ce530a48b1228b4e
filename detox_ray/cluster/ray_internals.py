"""Private parts of Ray that detox_ray uses, as read in Ray 2.60.0."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

# Ray Train's list of checkpoints in the folder of a training.
CHECKPOINT_LIST = "checkpoint_manager_snapshot.json"
CHECKPOINT_PREFIX = "checkpoint_"  # name of a checkpoint's folder, followed by the time of writing


class CheckpointList(NamedTuple):
    """The content of Ray Train's list of checkpoints."""

    folders: list[str]
    ray_version: str


def parse_checkpoint_list(content: bytes) -> CheckpointList:
    """Parse Ray Train's list of checkpoints. Raise ValueError, KeyError or TypeError if it is invalid."""
    listed = json.loads(content)
    folders = [entry["checkpoint_dir_name"] for entry in listed["checkpoint_results"]]
    return CheckpointList(folders, listed["ray_version"])


def stored_checkpoint(name: str) -> Any:
    """Return the ``ray.train.Checkpoint`` of a folder that a worker has written into the training's folder.

    Ray Train takes it for its own only if its filesystem is that of the training's settings.
    """
    import ray.train

    storage = ray.train.get_context().get_storage()
    return ray.train.Checkpoint(storage.build_checkpoint_path_from_name(name), storage.storage_filesystem)


def keep_node_address(address: str) -> dict[str, Any]:
    """Return arguments of ``ray.init`` for a local Ray that listens on ``address`` only, which may be loopback.

    Ray replaces 127.0.0.1 by the address of the network and then listens on all interfaces, unless clusters of several
    nodes are switched off. It reads this switch on import, which may already have happened.
    """
    from ray._private import ray_constants

    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"  # for the processes that Ray starts
    ray_constants.ENABLE_RAY_CLUSTER = False
    return {"_node_ip_address": address}


@contextmanager
def small_head(show_logs: bool) -> Iterator[None]:
    """Make ``ray.init`` start a Ray for this program alone, without processes that such a Ray does not need.

    The autoscaler's monitor has no machines to add. Without a dashboard, the dashboard's server only sends usage
    statistics, and ``ray.init`` waits for it. The log monitor shows the workers' logs here. Each of them imports Ray,
    which takes a second or more of a core.

    Args:
        show_logs: Whether the workers' logs are shown.
    """
    from ray._private.node import Node

    left_out = ["start_monitor", "start_api_server", *([] if show_logs else ["start_log_monitor"])]
    methods = {name: getattr(Node, name) for name in left_out}
    for name in left_out:
        setattr(Node, name, lambda *_, **__: None)
    try:
        yield
    finally:
        for name, method in methods.items():
            setattr(Node, name, method)


def bind_replicas_to(address: str) -> None:
    """Make Ray Serve replicas that start in this process from now on listen on ``address`` only.

    By default, a replica listens for calls on all interfaces.
    """
    from ray.serve._private import replica

    bind = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, _: bind(server, f"{address}:0")


NOT_PLACED = "to be scheduled"  # part of the message of a Ray Serve deployment without room for its replicas
NODE_LABEL = "ray.io/node-id"  # the label with a node's id
NODE_DIED = "node has died"  # part of the error of an actor whose node is lost
EXIT_DETAIL = "Worker exit detail: "  # part of the error of an actor whose process ended
CAUSES = ". Some common causes"  # start of the text that Ray appends to the detail


def node_is_lost(error: BaseException) -> bool:
    """Return whether an actor's error means that its node is lost, not only its process."""
    return NODE_DIED in str(error)


def trainer_of_own_ray() -> Any:
    """Return a TorchTrainer for a Ray that ends with this program.

    It starts no process that would free the workers' resources after this program's death. That process asks the
    dashboard, which such a Ray lacks (`small_head`), so that the end of each training waited 12 s for it.
    """
    from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
    from ray.train.v2.torch.torch_trainer import TorchTrainer

    class OwnRayTrainer(TorchTrainer):
        def _create_default_callbacks(self) -> list[Any]:
            callbacks: list[Any] = super()._create_default_callbacks()
            return [each for each in callbacks if not isinstance(each, PlacementGroupCleanerCallback)]

    return OwnRayTrainer


NODE_LOSS_S = 45  # time in which Ray detects a lost node; peers of its workers may fail earlier


class NodeLeavesError(RuntimeError):
    """A training's workers have saved a checkpoint and stop, because a node of theirs is about to leave."""

    MESSAGE = "a node of the workers is about to leave the cluster"  # by which the policy knows the error

    def __init__(self, message: str = MESSAGE):  # pickle, which brings it to the controller, passes the message
        super().__init__(message)


def excuse_lost_nodes() -> None:
    """Make trainers of Ray Train in this process not count failures of workers whose node is lost or leaves."""
    from ray.train.v2.api import data_parallel_trainer

    data_parallel_trainer.create_failure_policy = NodeLossPolicy  # type: ignore[assignment]


class NodeLossPolicy:
    """Ray Train's failure policy, except that workers always restart if a lost or a leaving node is the cause.

    It runs in the controller of a training, which may wait while its workers are down.
    """

    def __init__(self, failure_config: Any):
        from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy

        self._policy = DefaultFailurePolicy(failure_config)
        self._explained = set(lost_nodes())  # nodes whose loss does not explain a new failure

    def make_decision(self, training_failed_error: Any) -> Any:
        """Return `FailureDecision.RETRY` if a node is lost or leaves, or else the decision of Ray Train."""
        from ray.train.v2._internal.execution.failure_handling import FailureDecision
        from ray.train.v2.api.exceptions import WorkerGroupError

        if isinstance(training_failed_error, WorkerGroupError):
            failures = [str(failure) for failure in training_failed_error.worker_failures.values()]
            if any(NodeLeavesError.MESSAGE in failure for failure in failures):
                self._explained |= draining_nodes().keys()
                return FailureDecision.RETRY
            if self._node_is_lost(failures):
                return FailureDecision.RETRY
        return self._policy.make_decision(training_failed_error)

    def _node_is_lost(self, failures: list[str]) -> bool:
        if any(NODE_DIED in failure for failure in failures):
            self._explained |= lost_nodes().keys()
            return True
        import ray

        deadline = time.monotonic() + NODE_LOSS_S
        while sum(node["Alive"] for node in ray.nodes()) > 1 and time.monotonic() < deadline:
            if lost_nodes().keys() - self._explained:
                break
            time.sleep(1)
        new = lost_nodes().keys() - self._explained
        self._explained |= new
        return bool(new)


def lost_nodes() -> dict[str, str]:
    """Return {id: host name and address} of the nodes that have left the cluster or were lost."""
    import ray

    return {node["NodeID"]: node_name(node) for node in ray.nodes() if not node["Alive"]}


def node_name(node: Mapping[str, Any]) -> str:
    """Return host name and address of a node from Ray's description of it."""
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def draining_nodes() -> dict[str, str]:
    """Return {id: host name and address} of the nodes about to leave the cluster. Ray places nothing more on them.

    Ray learns of it from a platform that watches for the notices of spot machines, from `ray drain-node`, or from a
    SIGTERM to `ray start --block`, which Kubernetes sends to a pod that must go.
    """
    import ray
    from ray._private.state import state

    draining = state.get_draining_nodes()
    return {node["NodeID"]: node_name(node) for node in ray.nodes() if node["NodeID"] in draining} if draining else {}


def usable_nodes() -> list[dict[str, Any]]:
    """Return Ray's descriptions of the nodes that are there and stay."""
    import ray

    draining = draining_nodes()
    return [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in draining]


def exit_detail(error: BaseException) -> str:
    """Return the reason for the end of an actor's process from its error, in one line."""
    text = str(error)
    if EXIT_DETAIL in text:
        text = text.partition(EXIT_DETAIL)[2].partition(CAUSES)[0]
    return " ".join(text.split())[:500]
