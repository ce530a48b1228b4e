"""The one cluster bootstrap: join the Ray at RAY_ADDRESS, else start a local one on loopback and stop it at the end."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from detox_ray.cluster import interrupt
from detox_ray.cluster.ray_internals import bind_replicas_to, keep_node_address, small_head
from detox_ray.config import ClusterConfig, InputError

LOOPBACK = "127.0.0.1"
STARTS = 3  # of a local Ray, each of which Ray gives 30 s: too little on a busy laptop
NOTHING_ASKED = ClusterConfig()
SLOW_START = "timed out during startup"


class Cluster(NamedTuple):
    """The Ray that a job may use."""

    address: str  # "local" or the address joined
    nodes: int
    cpus: float
    gpus: float  # that the run uses: those it asks for, though they may join later; else those that are there
    asked: bool = False  # whether the experiment says how many GPUs it uses
    wait_s: float = NOTHING_ASKED.wait_s  # seconds to wait for machines while nothing can run


@contextmanager
def connect(
    num_cpus: int | None = None, verbose: bool = False, asks: ClusterConfig = NOTHING_ASKED
) -> Iterator[Cluster]:
    """Connect to Ray for the duration of the block.

    A Ray that is already initialised in this process is used and left running; one at RAY_ADDRESS is joined and left; a
    local one is started on 127.0.0.1 only and shut down.

    Args:
        num_cpus: CPUs of a Ray that is started here; None: those of the machine.
        verbose: Whether Ray's log is shown.
        asks: The machines that the work asks for. On a cluster that is joined they may come later.

    Raises:
        InputError: A Ray that is started here has fewer GPUs than ``asks``.
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
            # Workers get their share of a busy machine: Ray's default lowers their priority by 15.
            os.environ.setdefault("RAY_worker_niceness", "0")
            start = {"num_cpus": num_cpus, "include_dashboard": False, **keep_node_address(LOOPBACK), **quiet}
            for attempt in range(1, STARTS + 1):
                try:
                    with small_head(show_logs=verbose):
                        ray.init(**start)
                    break
                except Exception as error:  # Ray raises this class itself
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
    """Let this replica of a Ray Serve deployment listen on loopback if its Ray does. Its constructor calls this."""
    import ray

    if ray.is_initialized() and ray.util.get_node_ip_address() == LOOPBACK:
        bind_replicas_to(LOOPBACK)
