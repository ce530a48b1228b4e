"""What is used of Ray beyond its public interface, as read in Ray 2.60.0."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

# Ray Train's own list of a training's checkpoints, in the training's folder.
CHECKPOINT_LIST = "checkpoint_manager_snapshot.json"
CHECKPOINT_PREFIX = "checkpoint_"  # of a checkpoint's folder; the rest of the name is the time at which it was written


class CheckpointList(NamedTuple):
    """What Ray Train's list of checkpoints holds."""

    folders: list[str]
    ray_version: str


def parse_checkpoint_list(content: bytes) -> CheckpointList:
    """Parse Ray Train's list of checkpoints. Raises ValueError, KeyError or TypeError if it is not one."""
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

    Ray rewrites 127.0.0.1 to the network's address, and then listens on all interfaces, unless clusters of several
    nodes are switched off. It reads that switch when it is imported, which may have been before.
    """
    from ray._private import ray_constants

    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"  # for the processes that Ray starts
    ray_constants.ENABLE_RAY_CLUSTER = False
    return {"_node_ip_address": address}


@contextmanager
def small_head(show_logs: bool) -> Iterator[None]:
    """Let ``ray.init`` start a Ray for this program alone, without the processes that such a Ray has no use for.

    The autoscaler's monitor has no machines to add. The dashboard's server, with the dashboard left out, only sends
    usage statistics, and ``ray.init`` waits for it. The log monitor shows the workers' logs here. Each imports Ray
    for a second or more of a core.

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
    """Let replicas of Ray Serve that start in this process from now on listen on ``address`` only.

    A replica otherwise listens for the others' calls on all interfaces.
    """
    from ray.serve._private import replica

    bind = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, _: bind(server, f"{address}:0")


NOT_PLACED = "to be scheduled"  # in the message of a deployment of Ray Serve whose replicas find no room
NODE_LABEL = "ray.io/node-id"  # a label that Ray gives each node: its id
NODE_DIED = "node has died"  # in the error of an actor whose node is lost
EXIT_DETAIL = "Worker exit detail: "  # in the error of an actor whose process ended
CAUSES = ". Some common causes"  # begins what Ray adds to the detail


def node_is_lost(error: BaseException) -> bool:
    """Return whether an actor's error says that its node is lost, as opposed to its process alone."""
    return NODE_DIED in str(error)


NODE_LOSS_S = 45  # in which Ray finds that a node is lost; its workers' peers may fail before


def excuse_lost_nodes() -> None:
    """Let Ray Train's trainers that are made in this process not count the failures of workers whose node is lost."""
    from ray.train.v2.api import data_parallel_trainer

    data_parallel_trainer.create_failure_policy = NodeLossPolicy  # type: ignore[assignment]


class NodeLossPolicy:
    """Ray Train's failure policy, except for failures that a lost node explains: after these, workers start again.

    It lives in the controller of a training, which may wait while its workers are down.
    """

    def __init__(self, failure_config: Any):
        from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy

        self._policy = DefaultFailurePolicy(failure_config)
        self._lost = lost_nodes()  # those that explained earlier failures, or none

    def make_decision(self, training_failed_error: Any) -> Any:
        """Return whether the training goes on: `FailureDecision.RETRY`, or what Ray Train itself decides."""
        from ray.train.v2._internal.execution.failure_handling import FailureDecision
        from ray.train.v2.api.exceptions import WorkerGroupError

        if isinstance(training_failed_error, WorkerGroupError) and self._node_is_lost(training_failed_error):
            return FailureDecision.RETRY
        return self._policy.make_decision(training_failed_error)

    def _node_is_lost(self, error: Any) -> bool:
        if any(node_is_lost(failure) for failure in error.worker_failures.values()):
            self._lost = lost_nodes()
            return True
        import ray

        deadline = time.monotonic() + NODE_LOSS_S
        while sum(node["Alive"] for node in ray.nodes()) > 1 and time.monotonic() < deadline:
            if lost_nodes().keys() > self._lost.keys():
                break
            time.sleep(1)
        before, self._lost = self._lost, lost_nodes()
        return self._lost.keys() > before.keys()


def lost_nodes() -> dict[str, str]:
    """Return the nodes that have left the cluster or were lost: their ids, and their host names and addresses."""
    import ray

    gone = [node for node in ray.nodes() if not node["Alive"]]
    return {node["NodeID"]: f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})" for node in gone}


def exit_detail(error: BaseException) -> str:
    """Return what an actor's error says of how its process ended, in one line."""
    text = str(error)
    if EXIT_DETAIL in text:
        text = text.partition(EXIT_DETAIL)[2].partition(CAUSES)[0]
    return " ".join(text.split())[:500]
