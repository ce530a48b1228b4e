"""`detox-ray submit` and `detox-ray jobs` against a stand-in for a Ray head."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_head import FakeHead, fake_head
from typer.testing import CliRunner, Result

from detox_ray.cli import app
from detox_ray.config import ConfigError
from detox_ray.jobs.attempts import Recorder
from detox_ray.jobs.following import Lost, follow
from detox_ray.jobs.ray_head import RayHead, chosen_address
from detox_ray.storage.folder import Folder

CONFIG = Path(__file__).parents[2] / "configs/toy17.yaml"
BUCKET = "storage=s3://bucket/runs?region=eu-west-1"


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHead]:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with fake_head() as head:
        monkeypatch.setenv("DETOX_RAY_ADDRESS", head.address)
        yield head


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def submitted(*words: str) -> dict[str, Any]:
    result = call("submit", str(CONFIG), BUCKET, *words, "--json")
    assert result.exit_code == 0, result.output
    row: dict[str, Any] = json.loads(result.stdout)
    return row


def test_the_resolved_experiment_is_shipped_as_one_file(head: FakeHead) -> None:
    row = submitted("generate.samples=7")
    assert row["submitted"] and row["folder"] == "s3://bucket/runs/toy17?region=eu-west-1"
    (job,) = head.jobs.values()
    assert job["submission_id"] == row["id"] and row["id"].startswith("detox-toy17-") and row["id"].endswith("-1")
    assert job["entrypoint"] == "detox-ray run experiment.yaml"
    assert job["entrypoint_resources"] == {"driver": 1}
    assert job["runtime_env"]["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "30", "DETOX_RAY_JOB": row["id"]}
    (package,) = head.packages.values()
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        (name,) = archive.namelist()
        experiment = yaml.safe_load(archive.read(name))
    assert name == "experiment.yaml" and experiment["generate"]["samples"] == 7
    assert len(package) < 20_000


def test_no_driver_resource_is_requested_from_a_head_without_it(head: FakeHead) -> None:
    head.resources = {"CPU": 8.0}
    submitted()
    (job,) = head.jobs.values()
    assert not job.get("entrypoint_resources")


def test_a_second_submission_finds_the_running_job(head: FakeHead) -> None:
    first = submitted()
    second = submitted()
    assert second["id"] == first["id"] and second["at_work"] and not second["submitted"]
    assert len(head.jobs) == 1
    assert submitted("generate.samples=7")["id"] != first["id"], "another experiment is another run"


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "STOPPED"])
def test_after_its_end_the_next_attempt_begins(head: FakeHead, state: str) -> None:
    first = submitted()
    head.end(first["id"], state)
    second = submitted()
    assert second["submitted"] and second["id"] == first["id"].removesuffix("1") + "2"


def test_the_second_of_two_simultaneous_submissions_finds_the_first_ones_job(
    head: FakeHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = submitted()
    monkeypatch.setattr(RayHead, "jobs", lambda self: [])  # the second looked before the first was there
    second = submitted()
    assert second["id"] == first["id"] and not second["submitted"]


def test_a_dry_run_submits_nothing(head: FakeHead) -> None:
    row = submitted("--dry-run")
    assert not row["submitted"] and row["id"].endswith("-1")
    assert head.jobs == {} and head.packages == {}


def test_here_ships_the_clone(head: FakeHead, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    (clone / "jobs").mkdir(parents=True)
    (clone / "jobs/run.py").write_text("print(1)\n")
    (clone / ".venv").mkdir()
    (clone / ".venv/large").write_text("x")
    (clone / "my.yaml").write_text(CONFIG.read_text())
    monkeypatch.chdir(clone)
    result = call("submit", "my.yaml", BUCKET, "--here", "--json")
    assert result.exit_code == 0, result.output
    (job,) = head.jobs.values()
    assert job["entrypoint"] == f"python jobs/run.py my.yaml '{BUCKET}'"
    (package,) = head.packages.values()
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        assert {name for name in archive.namelist() if name[-1] != "/"} == {"jobs/run.py", "my.yaml"}
    head.end(job["submission_id"], "STOPPED")
    again = call("jobs", "resume", job["submission_id"])
    assert again.exit_code == 2 and "--here" in again.output
    monkeypatch.chdir(tmp_path)
    assert "jobs/run.py" in call("submit", "clone/my.yaml", BUCKET, "--here").output


@pytest.mark.parametrize("storage", ["runs", "file:///runs", "/shared/runs"])
def test_a_folder_as_storage_needs_a_cluster_of_this_machine(head: FakeHead, storage: str) -> None:
    result = call("submit", str(CONFIG), f"storage={storage}", "--json")
    assert result.exit_code == 0, result.output
    (job,) = head.jobs.values()
    whole = yaml.safe_load(job["metadata"]["experiment.yaml"])["storage"]
    assert Path(whole).is_absolute(), "a job has another working folder"
    assert json.loads(result.stdout)["folder"] == f"{whole}/toy17"
    head.jobs.clear()
    for names in (["elsewhere"], [*head.host_names, "elsewhere"], []):
        head.host_names = names
        result = call("submit", str(CONFIG), f"storage={storage}")
        assert result.exit_code == 2 and "storage: must be a bucket" in result.output and head.jobs == {}


# --- addresses ------------------------------------------------------------------------------------------------------


def test_an_address_that_does_not_answer_is_refused(head: FakeHead) -> None:
    result = call("jobs", "list", "--address", "http://127.0.0.1:1")
    assert result.exit_code == 2 and "http://127.0.0.1:1 does not answer" in result.output


def test_an_address_that_is_not_a_ray_heads_is_refused(head: FakeHead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeHead, "answer", lambda *_: (404, "Not Found"))
    result = call("jobs", "list")
    assert result.exit_code == 2
    assert "is not a Ray head: GET /api/version answered 404 'Not Found'" in " ".join(result.output.split())


def test_a_token_comes_from_rays_own_places(head: FakeHead, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    head.token = "secret"
    refused = call("jobs", "list")
    assert refused.exit_code == 2 and "refuses the token" in refused.output
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("secret\n")
    assert call("jobs", "list").exit_code == 0
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another")
    assert call("jobs", "list").exit_code == 2
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    assert submitted()["submitted"]


@pytest.mark.parametrize("name", ["RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"])
def test_rays_variables_must_not_name_another_address(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for other in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "DETOX_RAY_ADDRESS"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "http://10.0.0.1:8265")
    with pytest.raises(ConfigError, match=f"{name}: differs from the address http://10.0.0.2:8265"):
        chosen_address("http://10.0.0.2:8265")
    assert chosen_address("10.0.0.1:8265/") == "http://10.0.0.1:8265"
    monkeypatch.setenv(name, "auto")
    with pytest.raises(ConfigError, match="unset"):
        chosen_address("http://10.0.0.2:8265")


@pytest.mark.parametrize("address", ["ray://10.0.0.1:10001", "http://", None])
def test_what_cannot_be_a_dashboards_address_is_refused(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    for other in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "DETOX_RAY_ADDRESS"):
        monkeypatch.delenv(other, raising=False)
    with pytest.raises(ConfigError, match="--address"):
        chosen_address(address)


def test_an_address_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError, match="must hold no user and no password") as caught:
        chosen_address("http://me:secret@10.0.0.1:8265")
    assert "secret" not in str(caught.value) and "10.0.0.1:8265" in str(caught.value)


# --- jobs -----------------------------------------------------------------------------------------------------------


def test_jobs_are_listed_by_state_and_others_are_left_out(head: FakeHead) -> None:
    first = submitted()["id"]
    head.end(first, "FAILED", 2)
    second = submitted()["id"]
    head.jobs["others"] = {"submission_id": "others", "status": "RUNNING", "metadata": {}}
    rows = json.loads(call("jobs", "list", "--json").stdout)
    assert [(row["id"], row["state"], row["exit_code"]) for row in rows] == [
        (second, "RUNNING", None),
        (first, "FAILED", 2),
    ]
    assert [row["id"] for row in json.loads(call("jobs", "list", "--state", "FAILED", "--json").stdout)] == [first]


@pytest.mark.parametrize(
    ("state", "driver", "follow_code", "status_code"),
    [
        ("SUCCEEDED", 0, 0, 0),
        ("FAILED", 1, 1, 1),
        ("FAILED", 2, 2, 1),
        ("FAILED", 3, 3, 3),
        ("FAILED", 5, 5, 3),
        ("FAILED", -9, 1, 1),
        ("FAILED", None, 1, 1),
        ("STOPPED", None, 3, 3),
    ],
)
def test_the_exit_code_is_the_drivers_own(
    head: FakeHead, state: str, driver: int | None, follow_code: int, status_code: int
) -> None:
    job = submitted()["id"]
    assert call("jobs", "status", job).exit_code == 3
    head.logs[job] = "line\n"
    head.end(job, state, driver)
    followed = call("jobs", "logs", job, "--follow")
    assert followed.exit_code == follow_code and "line\n" in followed.output
    assert call("jobs", "status", job).exit_code == status_code


def test_following_prints_each_line_once_over_a_lost_connection(head: FakeHead) -> None:
    job = submitted()["id"]
    client = RayHead(head.address)
    printed: list[str] = []
    messages: list[str] = []
    steps = iter(["a\n", "a\nb\n", "", "a\nb\nc\n", "end"])

    def sleep(seconds: float) -> None:
        step = next(steps)
        if step == "":
            head.failures = 3
        elif step == "end":
            head.end(job, "SUCCEEDED", 0)
        else:
            head.logs[job] = step

    def sleeping(seconds: float) -> None:
        if not head.failures:
            sleep(seconds)

    ended = follow(client, job, printed.append, messages.append, sleeping)
    assert ended.state == "SUCCEEDED" and "".join(printed) == "a\nb\nc\n"
    assert len(messages) == 2 and "answers again" in messages[1]


def test_a_forgotten_job_is_lost_and_points_to_the_folder(head: FakeHead) -> None:
    job = submitted()["id"]
    head.jobs.clear()
    with pytest.raises(Lost, match="does not know"):
        follow(RayHead(head.address), job, print, print)
    result = call("jobs", "status", job)
    assert result.exit_code == 2 and "the run's folder" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("ended", "code", "state"),
    [(None, 3, "running, by the run's folder"), (0, 0, "finished"), (1, 1, "failed"), (-1, 3, "unknown")],
)
def test_if_the_head_is_lost_the_runs_folder_gives_the_exit_code(
    head: FakeHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: int | None, code: int, state: str
) -> None:
    row = submitted(f"storage={tmp_path}")
    recorder = Recorder(Folder.at(row["folder"]), row["id"], None)
    if ended != -1:  # this machine can read the folder
        recorder.start()
        if ended is not None:
            recorder.end(ended, "")
    answer = head.answer

    def forgetting(method: str, path: str, body: bytes) -> tuple[int, Any]:
        if path.endswith("/logs"):
            head.jobs[row["id"]]["status"] = "RUNNING"
            content = answer(method, path, body)
            head.jobs.clear()  # the head is restarted
            return content
        return answer(method, path, body)

    monkeypatch.setattr(head, "answer", forgetting)
    monkeypatch.setattr("detox_ray.jobs.following.INTERVAL_S", 0.01)
    result = call("jobs", "logs", row["id"], "--follow")
    assert result.exit_code == code and state in " ".join(result.output.split())
    if ended is None:
        recorder.end(0, "")


def test_a_cancelled_job_is_resumed_with_the_same_experiment(head: FakeHead) -> None:
    job = submitted("generate.samples=7")["id"]
    cancelled = call("jobs", "cancel", job)
    assert cancelled.exit_code == 0 and "STOPPED" in cancelled.output
    head.packages.clear()  # a head keeps the package only as long as a job uses it
    resumed = call("jobs", "resume", job, "--json")
    assert resumed.exit_code == 0, resumed.output
    row = json.loads(resumed.stdout)
    assert row["id"] == job.removesuffix("1") + "2" and row["submitted"]
    (package,) = head.packages.values()
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        assert yaml.safe_load(archive.read("experiment.yaml"))["generate"]["samples"] == 7


def test_a_job_that_detox_ray_did_not_submit_is_not_resumed(head: FakeHead) -> None:
    head.jobs["others"] = {"submission_id": "others", "status": "FAILED", "metadata": {}}
    result = call("jobs", "resume", "others")
    assert result.exit_code == 2 and "not submitted by" in " ".join(result.output.split())
