"""A training on two nodes of which one is lost: run as a script, in a process of its own, with its own Ray.

`lost_node` is for tests. Several raylets on this machine stand for the nodes.
"""

import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from detox_ray.storage import Store
from detox_ray.storage.tables import CHECKPOINTS
from detox_ray.train.training_job import TrainingJob


def node(number: int) -> dict[str, Any]:
    """Arguments of one node. Each has an address of its own, on loopback: Ray Train tells nodes apart by it."""
    return {"node_ip_address": f"127.0.0.{number}", "include_dashboard": False}


def lost_node(job: TrainingJob, folder: Path, timeout: float = 600) -> dict[str, Any]:
    """Train; when two checkpoints are there, damage the newer one, end its node, and let another join.

    Returns what the marker says, and ``damaged``: the checkpoint's name.
    """
    (folder / "job").write_bytes(pickle.dumps(job))
    command = [sys.executable, "-W", "ignore", __file__, str(folder)]
    subprocess.run(command, check=True, timeout=timeout, env={**os.environ, "OMP_NUM_THREADS": "1"})
    info: dict[str, Any] = pickle.loads((folder / "info").read_bytes())
    return info


def accident(nodes: Any, store: Store, folder: str, training: Future[None]) -> str:
    """Wait for two checkpoints; damage the newer one, end a node, add another. The checkpoint's name."""
    sealed: list[str] = []
    while len(sealed) < 2:
        if training.done():
            training.result()
            raise AssertionError("the training ended before it had two checkpoints")
        time.sleep(0.01)  # between two looks, not for something to have happened
        files = store.files(folder)
        of_both = [{file.split("/")[2] for file in files if file.endswith(f"sealed-by-{rank}.json")} for rank in (0, 1)]
        sealed = sorted(of_both[0] & of_both[1])
    victim = sorted(nodes.worker_nodes, key=lambda node: node.unique_id)[0]
    victim.kill_raylet(check_alive=False)
    nodes.remove_node(victim, allow_graceful=False)
    for file in store.files(f"{folder}/{sealed[-1]}"):
        if file.endswith("optim_states.pt"):
            path = Path(store.path(file))
            path.write_bytes(path.read_bytes()[:1000])
    nodes.add_node(num_cpus=1, **node(4))
    return sealed[-1]


def main(folder: Path) -> None:
    os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    import ray
    from ray.cluster_utils import Cluster as Nodes

    from detox_ray import train
    from detox_ray.cluster import connect
    from detox_ray.cluster.progress import Progress

    job = pickle.loads((folder / "job").read_bytes())
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 0, **node(1)})
    try:
        for number in (2, 3):
            nodes.add_node(num_cpus=1, **node(number))
        os.environ["RAY_ADDRESS"] = nodes.address
        with connect() as cluster, ThreadPoolExecutor(1) as threads:  # nodes can be added in the main thread only
            given = (job.name, job.config, job.parent, job.rows, job.seed, job.key, job.store, cluster, Progress())
            training = threads.submit(train.train, *given)
            damaged = accident(nodes, job.store, job.folder, training)
            training.result()
            info = job.store.info(CHECKPOINTS.unit(model=job.name), job.key)
        (folder / "info").write_bytes(pickle.dumps({**info, "damaged": damaged}))
    finally:
        ray.shutdown()
        nodes.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
