"""Runs as jobs of a real Ray head on loopback, with a token: follow, detach, cancel, resume, exit codes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import yaml

from detox_ray.jobs.attempts import read_attempts, read_log
from detox_ray.storage.folder import Folder

pytestmark = [pytest.mark.integration, pytest.mark.slow]  # test_submission.py has the client alone
ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TOKEN = "0123456789abcdef0123456789abcdef"
# A run without models' training or scoring is short: the world's prompts, one model, the lexicon.
EXPERIMENT: dict[str, Any] = {
    "name": "job",
    "languages": ["en"],
    "data": {"prompts": {"source": "toy17", "per_language": 8}},
    "models": {"base": {"path": "toy17"}},
    "generate": {"engine": "transformers", "samples": 1, "max_tokens": 4, "prompts_per_unit": 1, "actors": 1},
    "score": {"scorers": ["toy17-lexicon"]},
}


class Head(NamedTuple):
    address: str
    environment: dict[str, str]

    def start(self, *words: str) -> "subprocess.Popen[str]":
        command = [str(BIN / "detox-ray"), *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, env=self.environment, text=True, **pipes)  # type: ignore[call-overload]

    def call(self, *words: str) -> tuple[int, str]:
        process = self.start(*words)
        output, _ = process.communicate(timeout=200)
        return process.returncode, output

    def json(self, *words: str) -> Any:
        command = [str(BIN / "detox-ray"), *words, "--json"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=200)
        return json.loads(done.stdout)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head on loopback, with a token and the resource `driver`, as cluster/own-hosts.yaml starts it."""
    port = free_port()
    folder = tmp_path_factory.mktemp("head")
    address = f"http://127.0.0.1:{port}"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTEST_"))},
        "HOME": str(folder),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # keeps it on loopback
        "DETOX_RAY_ADDRESS": address,
        "DETOX_RAY_CACHE": str(folder / "cache"),
        "COLUMNS": "300",
    }
    # A Unix socket's path is short.
    temporary = Path(f"/tmp/ray-head-{os.getpid()}")
    options = {
        "port": 0,
        "node-ip-address": "127.0.0.1",
        "dashboard-host": "127.0.0.1",
        "dashboard-port": port,
        "dashboard-agent-listen-port": 0,
        "ray-client-server-port": free_port(),
        "min-worker-port": 0,
        "max-worker-port": 0,
        "num-cpus": 2,
        "resources": '{"driver": 4}',
        "object-store-memory": 100_000_000,
        "temp-dir": temporary,
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    log = folder / "log"
    with log.open("w") as output:
        command = [BIN / "ray", "start", "--head", "--block", "--disable-usage-stats", *words]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: has_driver(address), 120, lambda: log.read_text(errors="replace"))
        yield Head(address, environment)
    finally:
        process.terminate()
        process.wait(60)


def has_driver(address: str) -> bool:
    try:
        answer = httpx.get(f"{address}/api/v0/nodes?detail=1", headers={"Authorization": f"Bearer {TOKEN}"})
        nodes = answer.json()["data"]["result"]["result"]
    except (httpx.HTTPError, ValueError, KeyError):
        return False
    return any(node["resources_total"].get("driver") for node in nodes)


def wait_for(condition: Any, seconds: float, described: Any = str) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, described()
        time.sleep(0.3)
    return value


def config(folder: Path, **changes: Any) -> str:
    file = folder / "experiment.yaml"
    file.write_text(yaml.safe_dump({**EXPERIMENT, "storage": str(folder / "runs"), **changes}))
    return str(file)


def committed(folder: Folder) -> set[str]:
    return {file for file in folder.files("commits/generations") if file.endswith(".json")}


def test_a_job_survives_ctrl_c_and_is_cancelled_and_resumed(head: Head, tmp_path: Path) -> None:
    data = {"prompts": {"source": "toy17", "per_language": 40}}
    generate = {**EXPERIMENT["generate"], "samples": 40, "max_tokens": 40}
    file = config(tmp_path, data=data, generate=generate)
    folder = Folder.at(str(tmp_path / "runs/job"))
    following = head.start("submit", file, "--follow")
    wait_for(lambda: committed(folder), 200, lambda: f"{following.poll()} {folder.files('')}")
    # Ctrl-C does not stop the job.
    following.send_signal(signal.SIGINT)
    output, _ = following.communicate(timeout=60)
    assert following.returncode == 3 and "the job continues" in output
    job_id = re.search(r"detox-job-\w+-\d+", output)[0]  # type: ignore[index]
    assert head.call("jobs", "status", job_id)[0] == 3
    code, again = head.call("submit", file)
    assert code == 0 and f"{job_id} is already carrying out" in again
    # The driver ends by itself, and what it committed stays.
    code, cancelled = head.call("jobs", "cancel", job_id)
    assert code == 0 and "STOPPED" in cancelled, cancelled
    (attempt,) = read_attempts(folder)
    assert attempt.exit_code == 3, attempt
    before = committed(folder)
    assert 0 < len(before) < 40
    code, resumed = head.call("jobs", "resume", job_id, "--follow")
    assert code == 0, resumed
    assert before < committed(folder) and len(committed(folder)) == 40
    assert [one.exit_code for one in read_attempts(folder)] == [3, 0]
    assert [one.job_id[-2:] for one in read_attempts(folder)] == ["-1", "-2"]


def test_a_run_is_followed_to_its_end_and_recorded_in_its_folder(head: Head, tmp_path: Path) -> None:
    file = config(tmp_path)
    code, output = head.call("submit", file, "--follow")
    assert code == 0, output
    assert "report/index.html" in output and "SUCCEEDED" in output
    folder = tmp_path / "runs/job"
    (attempt,) = read_attempts(Folder.at(str(folder)))
    assert (attempt.exit_code, attempt.number) == (0, 1)
    log = read_log(Folder.at(str(folder)), attempt)
    assert log and log in output
    (row,) = [row for row in head.json("jobs", "list") if row["folder"] == str(folder)]
    assert (row["id"], row["state"], row["exit_code"]) == (attempt.job_id, "SUCCEEDED", 0)
    assert head.call("jobs", "status", attempt.job_id)[0] == 0
    # The driver stood where the resource is, and its job keeps time to end by itself.
    job = httpx.get(
        f"{head.address}/api/jobs/{attempt.job_id}", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20
    ).json()
    assert job["runtime_env"]["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"] == "30"


def test_wrong_input_ends_with_the_drivers_exit_code(head: Head, tmp_path: Path) -> None:
    file = config(tmp_path, models={"base": {"path": str(tmp_path / "nowhere")}})
    code, output = head.call("submit", file, "--follow")
    assert code == 2 and "models.base.path" in output
    (attempt,) = read_attempts(Folder.at(str(tmp_path / "runs/job")))
    assert attempt.exit_code == 2 and "models.base.path" in attempt.reason
