"""Nodes that are lost, that join late, or that are not there yet, on simulated hosts: the same call goes on."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from simulated_hosts import SimulatedHosts, needs_hosts, wait_for
from slow_units import KEY, tasks

from detox_ray.storage import Store
from detox_ray.storage.tables import TEXTS

pytestmark = [pytest.mark.slow, pytest.mark.integration, needs_hosts]
SCRIPT = Path(__file__).with_name("slow_units.py")
UNITS = 40


@pytest.fixture
def hosts() -> Iterator[SimulatedHosts]:
    with SimulatedHosts("head", "w1", "w2") as simulated:
        yield simulated


def started(hosts: SimulatedHosts, folder: Path, units: int, *fields: str) -> "subprocess.Popen[str]":
    command = [sys.executable, SCRIPT, folder, str(units), "0.4", *fields]
    return hosts["head"].start(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def ended(process: "subprocess.Popen[str]", seconds: float = 150) -> str:
    printed, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, printed
    return printed


def made(folder: Path) -> int:
    return len(list((folder / "commits").rglob("*.json")))


def makers(folder: Path) -> Counter[str]:
    """How many units each host made; they are complete and right."""
    store = Store.at(str(folder))
    assert store.committed(TEXTS) == {task.unit: KEY for task in tasks(made(folder))}
    for task in tasks(made(folder)):
        assert store.read(task.unit, KEY)["text"].to_pylist() == [f"text {task.unit.shard}"]
    return Counter(store.info(task.unit, KEY)["host"] for task in tasks(made(folder)))


@pytest.mark.parametrize("accident", ["cut_power", "pull_cable"])
def test_units_of_a_lost_node_are_made_on_the_others(hosts: SimulatedHosts, tmp_path: Path, accident: str) -> None:
    hosts.cluster({"w1": 1, "w2": 1})
    run = started(hosts, tmp_path, UNITS)
    wait_for(lambda: made(tmp_path) >= UNITS // 4, "some units")
    assert set(makers(tmp_path)) == {"w1", "w2"}
    getattr(hosts["w1"], accident)()
    printed = ended(run)
    assert made(tmp_path) == UNITS, printed
    assert makers(tmp_path)["w2"] > UNITS // 2
    assert "the node w1 (10.87.0.2) is lost" in printed


def test_a_node_that_joins_is_used_at_once(hosts: SimulatedHosts, tmp_path: Path) -> None:
    hosts.cluster({"w1": 4})  # an actor for 4 CPUs
    run = started(hosts, tmp_path, 4 * UNITS, "auto")  # which one node alone takes a minute for
    wait_for(lambda: made(tmp_path) >= 3, "some units")
    assert set(makers(tmp_path)) == {"w1"}
    hosts["w2"].join(cpus=4)
    ended(run)
    assert makers(tmp_path)["w2"] >= UNITS // 4


def test_a_run_waits_for_the_first_node_and_says_so(hosts: SimulatedHosts, tmp_path: Path) -> None:
    hosts.cluster({})
    run = started(hosts, tmp_path, 6)
    time.sleep(15)  # what the run does meanwhile is wait
    hosts["w1"].join()
    printed = ended(run)
    assert "write: waits for 1 CPU for a worker process (1 wanted); the cluster has 1 node, 0 GPUs" in printed
    assert makers(tmp_path) == {"w1": 6}
