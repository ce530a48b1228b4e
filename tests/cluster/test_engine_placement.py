"""Placement of engines of several GPUs on simulated hosts with simulated GPUs: an engine records its bundles."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from simulated_hosts import SimulatedHosts, needs_hosts

pytestmark = [pytest.mark.slow, pytest.mark.integration, needs_hosts]

PROGRAM = '''
import sys, json, socket
import ray
from detox_ray.cluster import connect
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.unit_jobs import Job, Product, run_jobs
from detox_ray.config import ClusterConfig
from detox_ray.storage import Store
from slow_units import SlowWriter, tasks

class Engine(SlowWriter):
    """Asks where its group's bundles are, as vLLM does, and where a process in each of them runs."""

    def make(self, task):
        group = ray.util.get_current_placement_group()
        strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy
        host = ray.remote(num_gpus=1, num_cpus=0)(lambda: socket.gethostname())
        calls = [host.options(scheduling_strategy=strategy(group, bundle)).remote()
                 for bundle in range(len(group.bundle_specs))]
        product = super().make(task)
        return product._replace(info={"bundles": group.bundle_specs, "hosts": ray.get(calls)})

if __name__ == "__main__":
    from ray import cloudpickle
    import slow_units
    for module in (slow_units, sys.modules[__name__]):
        cloudpickle.register_pickle_by_value(module)
    store = Store.at(sys.argv[1])
    with connect(asks=ClusterConfig(gpus=4, gpus_per_node=2)) as cluster:
        jobs = [Job("engine", tasks(2), Engine, {"seconds": 0.0}, "rows", gpus=2, stages=2)]
        run_jobs("generate", jobs, store=store, cluster=cluster, progress=Progress())
        print(json.dumps([store.info(task.unit, task.key) for task in jobs[0].tasks]))
'''


def test_two_by_two_gpus_stand_in_two_hosts_though_one_has_three(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with SimulatedHosts("head", "w1", "w2", environment={"PYTHONPATH": path()}) as hosts:
        hosts.cluster({"w1": 3, "w2": 3}, "--num-gpus=3")
        run = hosts["head"].start(sys.executable, program, tmp_path / "run", stdout=subprocess.PIPE)
        printed, _ = run.communicate(timeout=100)
    assert run.returncode == 0
    for engine in json.loads(printed.splitlines()[-1]):
        assert engine["bundles"] == [{"CPU": 1, "GPU": 1}] * 4
        assert sorted(engine["hosts"]) == ["w1", "w1", "w2", "w2"]
        assert engine["hosts"][:2] in (["w1", "w1"], ["w2", "w2"])


def path() -> str:
    """Return PYTHONPATH with the tests' modules and this repository."""
    return f"{Path(__file__).parent}:{Path(__file__).parents[2]}"
