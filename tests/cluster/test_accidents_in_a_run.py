"""Whole commands that lose a node, the driver's host or the head: they end by themselves, or the next call does.

The rows are those of an undisturbed run.
"""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hosts_experiment import ENVIRONMENT, ROOT, UNITS, command, commits, rows, undisturbed, without, written
from simulated_hosts import SimulatedHosts, needs_hosts, wait_for

from detox_ray.storage import Store
from detox_ray.storage.tables import CHECKPOINTS, GENERATIONS, SCORES

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(600), needs_hosts]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing happens to."""
    return undisturbed(tmp_path_factory.mktemp("quiet"), "generate", "score")


def simulated(*names: str) -> SimulatedHosts:
    return SimulatedHosts(*names, environment=ENVIRONMENT)


def started(hosts: SimulatedHosts, host: str, *words: str | Path, **environment: str) -> "subprocess.Popen[str]":
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return hosts[host].start(*words, cwd=ROOT, env=environment, **pipes)


def ended(run: "subprocess.Popen[str]", seconds: float = 280) -> str:
    printed, _ = run.communicate(timeout=seconds)
    assert run.returncode == 0, printed
    return printed


def wait_for_commits(run: "subprocess.Popen[str]", folder: Path, table: str, count: int) -> None:
    there = folder / "commits" / table
    wait_for(lambda: len(list(there.rglob("*.json"))) >= count or run.poll() is not None, f"{count} units", seconds=150)


def test_a_power_cut_in_generate_costs_no_second_call_and_changes_no_row(quiet: Path, tmp_path: Path) -> None:
    config = written(tmp_path / "disturbed")
    with simulated("head", "w1", "w2") as hosts:
        hosts.cluster({"w1": 1, "w2": 1})
        run = started(hosts, "head", *command("generate", config))
        wait_for_commits(run, tmp_path / "disturbed" / "small", "generations", 6)
        hosts["w1"].cut_power()
        printed = ended(run)
    assert "the node w1 (10.87.0.2) is lost" in printed
    made = rows(tmp_path / "disturbed" / "small", GENERATIONS)
    assert len(made) == UNITS and made == rows(quiet, GENERATIONS)


@pytest.mark.parametrize("accident", ["cut_power", "pull_cable"])
def test_an_accident_in_score_costs_no_second_call_and_changes_no_row(
    quiet: Path, tmp_path: Path, accident: str
) -> None:
    config = without(quiet, tmp_path / "disturbed", SCORES)
    folder = tmp_path / "disturbed" / "small"
    with simulated("head", "w1", "w2") as hosts:
        hosts.cluster({"w1": 1})
        run = started(hosts, "head", *command("score", config))
        wait_for_commits(run, folder, "scores", 1)
        getattr(hosts["w1"], accident)()
        before = commits(folder, SCORES)
        hosts["w2"].join()
        printed = ended(run)
    assert 0 < before < UNITS, "scoring was over before the accident"
    assert "the node w1 (10.87.0.2) is lost" in printed
    assert commits(folder, SCORES) == UNITS
    assert rows(folder, SCORES) == rows(quiet, SCORES)


@pytest.mark.parametrize("accident", ["cut_power", "pull_cable"])
def test_an_accident_in_train_counts_as_no_failure_and_changes_no_weight(tmp_path: Path, accident: str) -> None:
    expected = undisturbed(tmp_path / "quiet", "train", trained=True)
    config = written(tmp_path / "disturbed", trained=True)
    folder = tmp_path / "disturbed" / "small"
    with simulated("head", "w1", "w2") as hosts:
        hosts.cluster({"w1": 2, "w2": 2})
        run = started(hosts, "head", *command("train", config))
        sealed = "checkpoint_*/sealed-by-*.json"
        wait_for(lambda: len(list((folder / "training").rglob(sealed))) >= 2, "a checkpoint", seconds=180)
        getattr(hosts["w1"], accident)()
        printed = ended(run, 280)
    assert "train detox: the node w1 (10.87.0.2) is lost" in printed
    unit = CHECKPOINTS.unit(model="detox")
    stores = [Store.at(str(place)) for place in (expected, folder)]
    before, after = (store.info(unit, store.committed(CHECKPOINTS)[unit]) for store in stores)
    assert (before["restarts"], after["restarts"]) == (0, 1)
    assert after["log"] == before["log"]


def test_a_training_whose_node_gets_its_notice_saves_a_checkpoint_and_goes_on_elsewhere(tmp_path: Path) -> None:
    expected = undisturbed(tmp_path / "quiet", "train", trained=True)
    config = written(tmp_path / "disturbed", trained=True, checkpoint_every=1000)
    folder = tmp_path / "disturbed" / "small"
    sealed = "training/*/checkpoint_*/sealed-by-*.json"
    steps: set[int] = set()

    def ends() -> bool:
        """Note the steps of checkpoints, and return whether the run has ended."""
        steps.update(json.loads(file.read_text())["step"] for file in folder.glob(sealed))
        return run.poll() is not None

    with simulated("head", "w1", "w2", "w3") as hosts:
        hosts.cluster({"w1": 1, "w2": 1})
        run = started(hosts, "head", *command("train", config))
        wait_for(lambda: list(folder.glob("training/*/starts.json")) or run.poll() is not None, "the workers", str, 180)
        hosts["w3"].join()
        hosts["w1"].give_notice()
        wait_for(ends, "the end of the training", seconds=280)
        printed = ended(run)
    assert "train detox: the node w1 (10.87.0.2) is about to leave the cluster" in printed
    assert "is lost" not in printed
    assert len(steps) == 1 and steps < set(range(1, 60)), "there is one checkpoint, because of the notice"
    unit = CHECKPOINTS.unit(model="detox")
    stores = [Store.at(str(place)) for place in (expected, folder)]
    before, after = (store.info(unit, store.committed(CHECKPOINTS)[unit]) for store in stores)
    assert (before["restarts"], after["restarts"]) == (0, 1)
    assert after["log"] == before["log"]
    weights = [(place / "checkpoints" / "detox" / "model.safetensors").read_bytes() for place in (expected, folder)]
    assert weights[0] == weights[1]


def test_if_the_drivers_host_is_lost_the_next_attempt_waits_for_the_lock_and_ends(quiet: Path, tmp_path: Path) -> None:
    config = written(tmp_path / "disturbed")
    folder = tmp_path / "disturbed" / "small"
    with simulated("head", "w1", "w2") as hosts:
        hosts.cluster({"w1": 1, "w2": 1})
        run = started(hosts, "w1", *command("generate", config), DETOX_RAY_JOB="job-1")
        wait_for_commits(run, folder, "generations", 3)
        hosts["w1"].cut_power()
        refused = started(hosts, "head", *command("generate", config))
        printed, _ = refused.communicate(timeout=60)
        assert refused.returncode == 5 and "is in use by process" in printed, printed
        begun, before = time.monotonic(), commits(folder, GENERATIONS)
        printed = ended(started(hosts, "head", *command("generate", config), DETOX_RAY_JOB="job-2"))
        print(f"the next attempt ended {time.monotonic() - begun:.0f} s after it began")
    assert "waits up to 135 s for its folder" in printed
    assert 0 < before < UNITS
    assert rows(folder, GENERATIONS) == rows(quiet, GENERATIONS)


def test_if_the_head_is_lost_a_new_head_ends_the_run(quiet: Path, tmp_path: Path) -> None:
    config = written(tmp_path / "disturbed")
    folder = tmp_path / "disturbed" / "small"
    with simulated("head", "w1", "w2") as hosts:
        hosts.cluster({"w1": 1})
        run = started(hosts, "head", *command("generate", config))
        wait_for_commits(run, folder, "generations", 3)
        hosts["head"].cut_power()
        run.communicate(timeout=60)
        before = commits(folder, GENERATIONS)
        hosts.boot("head")
        hosts.cluster({"w2": 1})
        printed = ended(started(hosts, "head", *command("generate", config)))
    assert 0 < before < UNITS, printed
    assert rows(folder, GENERATIONS) == rows(quiet, GENERATIONS)


def test_a_submitted_job_with_an_s3_server_survives_a_power_cut(quiet: Path, tmp_path: Path) -> None:
    requests = tmp_path / "requests.log"
    with simulated("head", "w1", "w2", "s3") as hosts, requests.open("w") as log:
        # A pipe that nobody reads would be full after some hundred requests, and the server would then answer no more.
        command_of_server = (sys.executable, ROOT / "tests" / "s3_server.py", hosts["s3"].address, "9000")
        server = hosts["s3"].start(*command_of_server, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        endpoint = f"{hosts['s3'].address}:9000"
        bucket = (
            f"import pyarrow.fs as pafs; pafs.S3FileSystem(endpoint_override='{endpoint}', scheme='http', "
            "region='us-east-1', allow_bucket_creation=True).create_dir('bucket')"
        )
        hosts.cluster({"w1": 1, "w2": 1}, dashboard=True)
        ended(started(hosts, "head", sys.executable, "-c", bucket))
        storage = f"s3://bucket/runs?endpoint_override={endpoint}&scheme=http&region=us-east-1"
        config = written(tmp_path / "client", storage)
        address = {"DETOX_RAY_ADDRESS": f"http://{hosts['head'].address}:8265", "RAY_ADDRESS": ""}
        begun = time.monotonic()
        submitted = ended(started(hosts, "w2", *command("submit", config, "--json"), **address))
        print(f"submitted after {time.monotonic() - begun:.1f} s")
        job = json.loads(submitted[submitted.index("{") :])["id"]
        follows = started(hosts, "w2", *command("jobs", "logs", job, "--follow"), **address)
        here = f"s3://bucket/runs/small?endpoint_override={endpoint}&scheme=http&region=us-east-1"

        def markers() -> set[str]:
            """Return the markers of generation that were put into the bucket."""
            return set(re.findall(r'"PUT /bucket/runs/small/(commits/generations/[^ ?]+)', requests.read_text()))

        wait_for(lambda: len(markers()) >= 4 or follows.poll() is not None, "some units", seconds=150)
        before = len(markers())
        hosts["w1"].cut_power()
        printed = ended(follows, 250)
        assert 0 < before < UNITS, printed
        assert "the node w1 (10.87.0.2) is lost" in printed and "SUCCEEDED" in printed
        status = started(hosts, "w2", *command("jobs", "status", here), **address)
        assert "finished" in ended(status)

        def table_of(name: str) -> Any:
            script = ROOT / "tests" / "cluster" / "hosts_experiment.py"
            return json.loads(ended(started(hosts, "head", sys.executable, script, here, name)))

        assert table_of("generations") == rows(quiet, GENERATIONS)
        assert table_of("scores") == rows(quiet, SCORES)
        server.kill()
