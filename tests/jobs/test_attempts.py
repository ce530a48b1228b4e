"""A job's driver records its attempt in the run's folder: life, log and outcome, readable without the cluster."""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from detox_ray.cli import app, experiments
from detox_ray.cli.exit_codes import exit_code_of
from detox_ray.config import InputError
from detox_ray.jobs import attempts
from detox_ray.jobs.attempts import Recorder, deciding_attempt, read_attempts, read_log, recorded
from detox_ray.storage import Store, lock
from detox_ray.storage.conditional_writes import conditional_file
from detox_ray.storage.folder import Folder
from detox_ray.storage.lock import Locked


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make this process the driver of a job, and return the run's folder."""
    monkeypatch.setenv(attempts.JOB_VARIABLE, "detox-toy17-0a1b2c3d-1")
    return tmp_path / "run"


def test_only_the_driver_of_a_job_records_an_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(attempts.JOB_VARIABLE, raising=False)
    with ExitStack() as after, recorded(str(tmp_path / "run"), exit_code_of, after):
        pass
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("error", "code", "state"),
    [
        (None, 0, "finished"),
        (ValueError("no memory"), 1, "failed"),
        (InputError("no such file"), 2, "wrong input"),
        (Locked("held"), 5, "in use"),
        (KeyboardInterrupt(), 3, "stopped"),
    ],
)
def test_the_outcome_is_the_exit_code_and_the_reason(
    driver: Path, error: BaseException | None, code: int, state: str
) -> None:
    def carry_out() -> None:
        with ExitStack() as after, recorded(str(driver), exit_code_of, after):
            (running,) = read_attempts(Folder.at(str(driver)))
            assert running.state == "running" and running.exit_code is None
            if error is not None:
                raise error

    if error is None:
        carry_out()
    else:
        with pytest.raises(type(error)):
            carry_out()
    (attempt,) = read_attempts(Folder.at(str(driver)))
    assert (attempt.number, attempt.job_id) == (1, "detox-toy17-0a1b2c3d-1")
    assert (attempt.exit_code, attempt.state) == (code, state)
    assert attempt.reason == ("" if error is None else str(error) or "asked to stop")


def test_a_killed_driver_is_lost_after_a_while(driver: Path) -> None:
    store = Folder.at(str(driver))
    recorder = Recorder(store, "detox-x-1", None)
    recorder.start()
    (attempt,) = read_attempts(store)
    alive = store.path(f"{attempt.folder}/alive.json")
    for silent, state in ((100, "running"), (121, "lost")):
        os.utime(alive, (time.time() - silent, time.time() - silent))
        assert [one.state for one in read_attempts(store)] == [state]
    assert not [file for file in store.files("attempts") if "clock" in file]
    recorder.end(0, "")


def test_the_clocks_of_drivers_and_readers_do_not_matter(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Folder.at(str(driver))
    recorder = Recorder(store, "detox-x-1", None)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 0.0)  # the driver's clock
        recorder.start()
    for clock in (-1e6, 1e6):
        with monkeypatch.context() as patch:
            now = time.time() + clock
            patch.setattr(time, "time", lambda now=now: now)
            assert [one.state for one in read_attempts(store)] == ["running"]
    recorder.end(0, "")


def test_drivers_that_begin_together_get_different_numbers(driver: Path) -> None:
    store = Folder.at(str(driver))
    recorders = [Recorder(store, "job", None) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(Recorder.start, recorders))
        list(pool.map(lambda recorder: recorder.end(0, ""), recorders))
    assert [one.number for one in read_attempts(store)] == list(range(1, 9))


def test_the_log_holds_the_message_of_the_error_that_ended_the_run(
    driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = tmp_path / "job-driver.log"
    monkeypatch.setattr(attempts, "printed_file", lambda: printed)
    config = tmp_path / "experiment.yaml"
    fields = {"name": "run", "storage": str(driver.parent), "languages": ["en"]}
    blocks = {
        "data": {"prompts": {"source": "toy17", "per_language": 1}},
        "models": {"base": {"path": str(tmp_path / "nowhere")}},
        "score": {"scorers": ["toy17-lexicon"]},
    }
    config.write_text(json.dumps(fields | blocks))
    with printed.open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        monkeypatch.setattr(sys, "stderr", file)
        with pytest.raises(typer.Exit):
            experiments.run(config)
    store = Folder.at(str(driver))
    (attempt,) = read_attempts(store)
    assert attempt.exit_code == 2
    assert "models.base.path" in read_log(store, attempt)


def test_a_driver_waits_until_the_lock_of_a_killed_one_is_stale(
    driver: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attempts.lock_wait_s() > lock.STALE_S
    monkeypatch.delenv(attempts.JOB_VARIABLE)
    assert attempts.lock_wait_s() == 0
    store = Store.at(str(driver))
    monkeypatch.setattr(lock, "LOOK_S", 0.05)
    monkeypatch.setattr(lock, "STALE_S", 3)
    holder = {"token": "x", "host": "elsewhere", "pid": 1, "process_started": 0.0, "since": 0.0, "beat": time.time()}
    conditional_file(store.location.child(lock.PATH)).create(json.dumps(holder).encode())
    with pytest.raises(Locked), lock.run_lock(store, 0.1):
        pass
    with lock.run_lock(store, 20):
        pass
    assert "waits up to 20 s for its folder" in capsys.readouterr().out


def test_a_refused_attempt_does_not_hide_a_running_one(driver: Path) -> None:
    store = Folder.at(str(driver))
    running, refused = Recorder(store, "detox-x-1", None), Recorder(store, "detox-y-1", None)
    running.start()
    refused.start()
    refused.end(5, "in use")
    attempts = read_attempts(store)
    assert [attempt.state for attempt in attempts] == ["running", "in use"]
    assert deciding_attempt(attempts).number == 1
    assert CliRunner().invoke(app, ["jobs", "status", str(driver)]).exit_code == 3
    running.end(0, "")
    assert CliRunner().invoke(app, ["jobs", "status", str(driver)]).exit_code == 0


def test_attempts_are_numbered_in_the_folder_even_if_ray_repeats_an_id(driver: Path) -> None:
    for _ in range(2):  # a restarted head gives the same id again
        with ExitStack() as after, recorded(str(driver), exit_code_of, after):
            pass
    assert [(one.number, one.job_id) for one in read_attempts(Folder.at(str(driver)))] == [
        (1, "detox-toy17-0a1b2c3d-1"),
        (2, "detox-toy17-0a1b2c3d-1"),
    ]


def test_a_growing_log_is_uploaded_in_pieces_and_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "LOG_S", 0.01)
    monkeypatch.setattr(attempts, "PIECE_BYTES", 1000)
    printed = tmp_path / "job-driver.log"
    printed.write_bytes(b"")
    store = Folder.at(str(tmp_path / "run"))
    recorder = Recorder(store, "detox-x-1", printed)
    recorder.start()
    lines = [f"línea {number}\n" for number in range(500)]
    with printed.open("a", encoding="utf-8") as file:
        for line in lines:
            file.write(line)
            file.flush()
            if line.endswith("0\n"):
                time.sleep(0.002)
        deadline = time.monotonic() + 20
        while not (log := read_log(store, read_attempts(store)[-1])).startswith("línea 0\n"):
            assert time.monotonic() < deadline
        assert "".join(lines).startswith(log.rstrip("�"))
    recorder.end(0, "")
    (attempt,) = read_attempts(store)
    assert read_log(store, attempt) == "".join(lines)
    sizes = [len(store.read_bytes(file)) for file in store.files(attempt.folder) if "/log-" in file]
    assert len(sizes) > 5 and set(sizes[:-1]) == {1000}


def test_a_storage_that_cannot_be_written_does_not_end_the_run(
    driver: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.parent.joinpath("run").write_text("a file")
    with ExitStack() as after, recorded(str(driver), exit_code_of, after):
        done = True
    assert done and "not recorded" in capsys.readouterr().err


def test_status_and_logs_of_a_run_need_no_cluster(driver: Path, tmp_path: Path) -> None:
    missing = CliRunner().invoke(app, ["jobs", "status", str(tmp_path)])
    assert missing.exit_code == 2 and "has no record of a job" in " ".join(missing.output.split())
    printed = tmp_path / "log"
    printed.write_text("first\n")
    store = Folder.at(str(driver))
    for number, code in enumerate((3, 0), 1):
        recorder = Recorder(store, f"detox-x-{number}", printed)
        recorder.start()
        recorder.end(code, "interrupted" if code else "")
        printed.write_text("second\n")
        shown = CliRunner().invoke(app, ["jobs", "status", str(driver), "--json"])
        assert shown.exit_code == code
        assert [row["state"] for row in json.loads(shown.stdout)] == ["stopped", "finished"][:number]
    assert CliRunner().invoke(app, ["jobs", "logs", str(driver)]).stdout == "second\n"
    assert CliRunner().invoke(app, ["jobs", "logs", str(driver), "--attempt", "1"]).stdout == "first\n"
    wrong = CliRunner().invoke(app, ["jobs", "logs", str(driver), "--attempt", "7"])
    assert wrong.exit_code == 2 and "attempts 1, 2" in " ".join(wrong.output.split())
    followed = CliRunner().invoke(app, ["jobs", "logs", str(driver), "--follow"])
    assert followed.exit_code == 2 and "--follow: needs a job's id" in " ".join(followed.output.split())


def test_logs_explain_why_a_driver_without_an_output_file_has_no_log(driver: Path) -> None:
    recorder = Recorder(Folder.at(str(driver)), "slurm-1", None)
    recorder.start()
    recorder.end(0, "")
    shown = CliRunner().invoke(app, ["jobs", "logs", str(driver)])
    assert shown.exit_code == 0 and "attempt 1 has no log" in " ".join(shown.output.split())
