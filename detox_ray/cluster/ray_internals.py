"""What is used of Ray beyond its public interface, as read in Ray 2.60.0."""

import json
import os
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


NODE_DIED = "node has died"  # in the error of an actor whose node is lost
EXIT_DETAIL = "Worker exit detail: "  # in the error of an actor whose process ended
CAUSES = ". Some common causes"  # begins what Ray adds to the detail


def node_is_lost(error: BaseException) -> bool:
    """Return whether an actor's error says that its node is lost, as opposed to its process alone."""
    return NODE_DIED in str(error)


def exit_detail(error: BaseException) -> str:
    """Return what an actor's error says of how its process ended, in one line."""
    text = str(error)
    if EXIT_DETAIL in text:
        text = text.partition(EXIT_DETAIL)[2].partition(CAUSES)[0]
    return " ".join(text.split())[:500]
