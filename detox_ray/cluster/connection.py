"""The connection to Ray: join the cluster at RAY_ADDRESS, or start a local Ray on loopback and stop it at the end."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from detox_ray.cluster import interrupt
from detox_ray.cluster.ray_internals import bind_replicas_to, keep_node_address, small_head
from detox_ray.config import ClusterConfig, InputError

LOOPBACK = "127.0.0.1"
STARTS = 3  # attempts to start a local Ray; Ray limits each to 30 s, which is too short on a busy laptop
NOTHING_ASKED = ClusterConfig()
SLOW_START = "timed out during startup"


class Cluster(NamedTuple):
    """The Ray cluster that a job uses."""

    address: str  # "local", or the address of the cluster
    nodes: int
    cpus: float
    gpus: float  # the GPUs that the run asks for, even if they join later; by default those present
    asked: bool = False  # whether the experiment states the number of GPUs
    wait_s: float = NOTHING_ASKED.wait_s  # seconds to wait for machines if nothing can run


@contextmanager
def connect(
    num_cpus: int | None = None, verbose: bool = False, asks: ClusterConfig = NOTHING_ASKED
) -> Iterator[Cluster]:
    """Connect to Ray for the duration of the block.

    If Ray is already initialised in this process, it is used and left running. A cluster at RAY_ADDRESS is joined, and
    left at the end. Otherwise a local Ray is started on 127.0.0.1 only, and shut down at the end.

    Args:
        num_cpus: Number of CPUs of a local Ray; None means those of the machine.
        verbose: Whether Ray's log is shown.
        asks: The machines that the work needs. On a cluster that is joined, they may come later.

    Raises:
        InputError: A local Ray has fewer GPUs than ``asks``.
    """
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")  # keeps bytecode dumps out of the logs
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import logging

    import ray

    quiet: dict[str, Any] = {"log_to_driver": verbose, "logging_level": logging.INFO if verbose else logging.ERROR}
    address = os.environ.get("RAY_ADDRESS")
    started = False
    if not ray.is_initialized():
        started = True
        if address:
            ray.init(address=address, **quiet)
        else:
            # Ray's default lowers the priority of workers by 15, which starves them on a busy machine.
            os.environ.setdefault("RAY_worker_niceness", "0")
            start = {"num_cpus": num_cpus, "include_dashboard": False, **keep_node_address(LOOPBACK), **quiet}
            for attempt in range(1, STARTS + 1):
                try:
                    with small_head(show_logs=verbose):
                        ray.init(**start)
                    break
                except Exception as error:  # Ray raises the base class
                    ray.shutdown()
                    if attempt == STARTS or SLOW_START not in str(error):
                        raise
        interrupt.listen_again()
    try:
        total = ray.cluster_resources()
        nodes = sum(node["Alive"] for node in ray.nodes())
        present = total.get("GPU", 0.0)
        if not address and (asks.gpus or 0) > present:
            rule = "set RAY_ADDRESS to join a cluster that has them, or ask for fewer"
            raise InputError(f"cluster.gpus: asks for {asks.gpus} GPUs, and this machine's Ray has {present:g}; {rule}")
        yield Cluster(
            address or "local",
            nodes,
            total.get("CPU", 0.0),
            present if asks.gpus is None else float(asks.gpus),
            asks.gpus is not None,
            asks.wait_s,
        )
    finally:
        if started:
            ray.shutdown()


def keep_replica_on_loopback() -> None:
    """Make this Ray Serve replica listen on loopback if its Ray does. The replica's constructor calls this function."""
    import ray

    if ray.is_initialized() and ray.util.get_node_ip_address() == LOOPBACK:
        bind_replicas_to(LOOPBACK)
