"""Nodes that are lost, that leave, join late, or are not there yet, on simulated hosts: the same call goes on."""

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


def started(
    hosts: SimulatedHosts, folder: Path, units: int, *fields: str, seconds: float = 0.4
) -> "subprocess.Popen[str]":
    command: list[str | Path] = [sys.executable, SCRIPT, folder, str(units), str(seconds), *fields]
    return hosts["head"].start(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def ended(process: "subprocess.Popen[str]", seconds: float = 150) -> str:
    printed, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, printed
    return printed


@contextmanager
def deadline(process: "subprocess.Popen[str]", seconds: float) -> Iterator[None]:
    """End a process that does not do in time what the block waits for."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


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


def test_a_node_that_gets_its_notice_finishes_its_unit_and_takes_no_other(
    hosts: SimulatedHosts, tmp_path: Path
) -> None:
    hosts.cluster({"w1": 1, "w2": 1})
    run = started(hosts, tmp_path, 4, seconds=12)  # longer than the driver takes to hear of the notice

    def begun() -> list[list[str]]:
        return sorted(file.name.split("-") for file in (tmp_path / "begun").glob("*"))

    wait_for(lambda: {host for _, host in begun()} == {"w1", "w2"}, "both hosts to begin")
    hosts["w1"].give_notice()
    printed = ended(run)
    assert made(tmp_path) == 4, printed
    assert makers(tmp_path) == {"w1": 1, "w2": 3}
    assert len(begun()) == 4, "a unit was begun twice"
    assert "write: the node w1 (10.87.0.2) is about to leave the cluster" in printed
    assert "is lost" not in printed


def test_a_node_that_joins_is_used_at_once(hosts: SimulatedHosts, tmp_path: Path) -> None:
    hosts.cluster({"w1": 4})  # an actor for 4 CPUs
    run = started(hosts, tmp_path, 4 * UNITS, "auto")  # which one node alone takes a minute for
    wait_for(lambda: made(tmp_path) >= 3, "some units")
    assert set(makers(tmp_path)) == {"w1"}
    hosts["w2"].join(cpus=4)
    ended(run)
    assert makers(tmp_path)["w2"] >= UNITS // 4


def test_two_runs_share_a_cluster(hosts: SimulatedHosts, tmp_path: Path) -> None:
    hosts.cluster({"w1": 1, "w2": 1})
    first = started(hosts, tmp_path / "a", UNITS, "1")
    second = started(hosts, tmp_path / "b", UNITS, "1")
    wait_for(lambda: made(tmp_path / "a") and made(tmp_path / "b"), "some units of both")
    third = started(hosts, tmp_path / "c", 4, "1")  # finds no room until one of them ends
    ended(first)
    ended(second)
    assert "write: waits for 1 CPU" in ended(third)
    assert {host for run in "ab" for host in makers(tmp_path / run)} == {"w1", "w2"}
    assert [made(tmp_path / run) for run in "abc"] == [UNITS, UNITS, 4]


def test_a_cluster_that_scales_from_zero_grows(tmp_path: Path) -> None:
    with SimulatedHosts("head", environment={"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}) as one:
        one["head"].on_network("ip", "route", "add", "default", "dev", "eth0")
        config = tmp_path / "autoscaling.json"
        config.write_text(json.dumps(autoscaling(f"{one.head_address}:6379")))
        one["head"].join(f"--autoscaling-config={config}", cpus=0)
        wait_for(lambda: "Ray runtime started" in one.log("head"), "the head", one.log)
        run = started(one, tmp_path / "run", 6, "1")
        ended(run)
    assert made(tmp_path / "run") == 6


def autoscaling(head: str) -> dict[str, Any]:
    """Return the config of a cluster without workers, to which Ray's fake provider adds up to two of one CPU."""
    commands = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    empty = [*(f"{name}_commands" for name in commands), "cluster_synced_files", "rsync_exclude", "rsync_filter"]
    return {
        "cluster_name": "fake",
        "max_workers": 2,
        "provider": {"type": "fake_multinode", "gcs_address": head},
        "available_node_types": {
            "ray.head.default": {"resources": {}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
        },
        "head_node_type": "ray.head.default",
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 0.1,
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        **{name: [] for name in empty},
    }


def test_a_run_waits_for_the_first_node_and_says_so(hosts: SimulatedHosts, tmp_path: Path) -> None:
    hosts.cluster({})
    run = started(hosts, tmp_path, 6)
    assert run.stdout is not None
    told = "write: waits for 1 CPU for a worker process (1 wanted); the cluster has 1 node, 0 GPUs"
    with deadline(run, 90):
        assert any(told in line for line in run.stdout)  # it reads no more than that line
    hosts["w1"].join()
    ended(run)
    assert makers(tmp_path) == {"w1": 6}
