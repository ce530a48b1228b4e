"""Whole experiments on a small world: every stage for real (DeepSpeed, vLLM, Detoxify), killed and resumed."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from perspective_server import Answer, Server, error, scores, serve
from typer.testing import CliRunner

from detox_ray.cli import app
from detox_ray.cluster.progress import Progress
from detox_ray.config import Experiment
from detox_ray.config.loading import load, validate
from detox_ray.run.plan import prepare
from detox_ray.run.stages import commands
from detox_ray.storage import Store
from detox_ray.storage.lock import run_lock

pytestmark = pytest.mark.integration

LANGUAGES = ["ar", "en", "ja"]
PROMPTS, SAMPLES = 6, 4
SCORERS = ("classifier", "insults", "both", "service")
SECRET = "planted-5ecret"


@pytest.fixture(scope="module")
def service() -> Iterator[Server]:
    """A Perspective server that repeats the key to whoever asks, in errors to every seventh text."""

    def reply(body: dict[str, Any]) -> Answer:
        refused = len(body["comment"]["text"]) % 7 == 0
        return error(400, f"no scores for {SECRET}") if refused else scores(*body["requestedAttributes"])

    with pytest.MonkeyPatch.context() as patch, serve(otherwise=reply) as server:
        for variable in ("SERVICE_KEY", "HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(variable, SECRET)
        yield server


@pytest.fixture(scope="module")
def config(toy_world: Path, service: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small world as a user's own files, so that no run waits for the default world to be built."""
    folder = tmp_path_factory.mktemp("experiment")
    experiment = {
        "name": "small",
        "storage": str(folder / "runs"),
        "languages": LANGUAGES,
        "data": {
            "prompts": {"source": "file", "path": str(toy_world / "prompts.jsonl"), "per_language": PROMPTS},
            "pairs": {"source": "file", "path": str(toy_world / "pairs.jsonl")},
            "texts": {"source": "file", "path": str(toy_world / "texts.jsonl"), "per_language": 5},
        },
        "models": {
            "base": {"path": str(toy_world / "model")},
            "detox": {
                "train": {
                    "parent": "base",
                    "workers": 2,
                    "max_steps": 12,
                    "warmup_steps": 1,
                    "learning_rate": 1e-4,
                    "batch_size": 4,
                    "max_length": 64,
                    "checkpoint_every": 3,
                }
            },
        },
        "generate": {"engine": "vllm", "samples": SAMPLES, "prompts_per_unit": 3},
        "score": {
            "scorers": [
                {
                    "name": "classifier",
                    "type": "detoxify",
                    "path": str(toy_world / "classifier" / "detoxify.ckpt"),
                    "huggingface_config": str(toy_world / "classifier"),
                },
                {"name": "insults", "type": "lexicon", "path": str(toy_world / "lexicon.json")},
                {"name": "both", "type": "ensemble", "members": ["classifier", "insults"], "combine": "max"},
                {
                    "name": "service",
                    "type": "perspective",
                    "url": service.url,
                    "key_env": "SERVICE_KEY",
                    "queries_per_second": 1000,
                },
            ],
            "reference": "insults",
        },
        "validity": {"source": "file", "path": str(toy_world / "labelled.jsonl")},
        "quality": {"fluency": [{"name": "under-base", "model": "base"}]},
        "measure": {"bootstrap": 200},
    }
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(experiment), encoding="utf-8")
    return path


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "detox_ray", *map(str, arguments)]


def finished(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def ended(by: signal.Signals, pattern: str, *arguments: str | Path) -> int:
    """Start a run and send it a signal as soon as a line of its log matches; its exit code."""
    process = subprocess.Popen(
        command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    seen = []
    try:
        for line in process.stderr:
            seen.append(line)
            if re.search(pattern, line):
                break
        else:
            pytest.fail(f"no line matched {pattern!r}:\n{''.join(seen)}")
        os.killpg(process.pid, by)
        for _ in process.stderr:  # until it has gone
            pass
        return process.wait(60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()


def numbers(folder: Path) -> dict[str, Any]:
    """results.json without what differs from run to run: timings."""
    results = json.loads((folder / "report" / "results.json").read_text(encoding="utf-8"))
    return {name: value for name, value in results.items() if name not in ("timings", "experiment")}


def markers(folder: Path) -> dict[str, int]:
    """Commit marker -> when it was written."""
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in sorted((folder / "commits").rglob("*.json"))}


@pytest.fixture(scope="module")
def resumed(config: Path) -> Path:
    """The folder of a run that was killed while it trained; the same command carried it to its end."""
    folder = config.parent / "runs" / "small"
    assert ended(signal.SIGKILL, r"train detox: \d+/", "run", config) == -signal.SIGKILL
    before = markers(folder)
    done = finished("run", config)
    (folder.parent / "messages.txt").write_text(done.stdout + done.stderr)
    assert before.items() <= markers(folder).items(), "what was committed is not made again"
    return folder


def test_run_leaves_every_number_and_says_what_ran(resumed: Path) -> None:
    results = numbers(resumed)
    places = {(m["metric"], m["model"], m["language"], m["scorer"]) for m in results["metrics"]}
    for metric in ("expected_maximum_toxicity", "toxicity_probability", "average_toxicity"):
        for language in (*LANGUAGES, "macro"):
            for model in ("base", "detox"):
                assert (metric, model, language, "classifier") in places
    assert {(m["metric"], m["scorer"]) for m in results["metrics"]} >= {
        ("perplexity", "held-out-text"),
        ("perplexity", "under-base"),
        ("dist_2", "words"),
        ("language_consistency", "py3langid"),
        ("english_drift", "py3langid"),
    }
    judged = {(row["scorer"], row["reference"]) for row in results["validity"]}
    assert judged == {
        *((scorer, "human: labelled.jsonl") for scorer in SCORERS),
        *((scorer, "insults") for scorer in SCORERS if scorer != "insults"),
    }
    pairs = {frozenset((row["scorer"], row["other"])) for row in results["agreement"]}
    assert pairs == {frozenset(pair) for pair in combinations(SCORERS, 2)}
    assert {c["parent"] for c in results["comparisons"]} == {"base"}
    manifest = json.loads((resumed / "manifest.json").read_text())
    trained = manifest["train"]["detox"]
    assert (trained["engine"], trained["zero_stage"], trained["world_size"]) == ("DeepSpeedEngine", 2, 2)
    assert manifest["generate"]["base"]["engine"] == "vllm"
    assert {"torch", "trl", "deepspeed", "ray", "detoxify"} <= set(manifest["versions"])
    page = (resumed / "report" / "index.html").read_text(encoding="utf-8")
    assert '"ar":["Arabic","rtl"]' in page


def test_a_secret_is_in_no_file_and_no_message_of_a_run(resumed: Path, service: Server) -> None:
    assert {headers["x-goog-api-key"] for headers in service.headers} == {SECRET}, "the run used it"
    files = [path for path in resumed.parent.parent.rglob("*") if path.is_file()]
    assert {"experiment.yaml", "manifest.json", "index.html", "messages.txt"} <= {path.name for path in files}
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def test_run_folder_opens_in_duckdb_without_loss_or_doubles(resumed: Path) -> None:
    query = f"""
        SELECT count(*), count(DISTINCT (model, language, prompt_id, sample)), count(DISTINCT seed)
        FROM read_parquet('{resumed}/generations/**/*.parquet', hive_partitioning = true)
    """
    rows = 2 * len(LANGUAGES) * PROMPTS * SAMPLES
    assert duckdb.sql(query).fetchall() == [(rows, rows, rows // 2)]


def test_second_run_makes_nothing_and_starts_no_ray(resumed: Path, config: Path, monkeypatch: Any) -> None:
    from detox_ray.run import pipeline

    before = markers(resumed)
    monkeypatch.setattr(pipeline, "connect", lambda **_: pytest.fail("Ray was started"))
    outcome = pipeline.run(load(config), None, Progress())
    assert all(done.new_units == 0 for done in outcome.commands)
    assert markers(resumed) == before


def test_changed_threshold_only_measures_and_reports_again(resumed: Path, config: Path, monkeypatch: Any) -> None:
    from detox_ray.run import pipeline

    monkeypatch.setattr(pipeline, "connect", lambda **_: pytest.fail("Ray was started"))
    changed = pipeline.run(load(config, ["measure.threshold=0.9"]), None, Progress())
    assert {done.command: done.new_units for done in changed.commands if done.new_units} == {"measure": 5, "report": 1}
    back = pipeline.run(load(config), None, Progress())
    assert {done.command for done in back.commands if done.new_units} == {"measure", "report"}


@pytest.mark.slow
def test_killed_and_stopped_runs_have_the_numbers_of_an_undisturbed_one(resumed: Path, config: Path) -> None:
    runs = config.parent / "runs"
    assert ended(signal.SIGINT, r"generate: \d+/", "run", config, "name=stopped") == 3
    with run_lock(Store.at(str(runs / "stopped"))):  # a stopped run gives it back
        pass
    before = markers(runs / "stopped")
    assert any("generations" in marker for marker in before)
    for name in ("stopped", "undisturbed"):
        finished("run", config, f"name={name}")
        assert numbers(runs / name) == numbers(resumed)
    assert before.items() <= markers(runs / "stopped").items()


def test_validity_fits_a_calibration_that_a_scorer_can_use(resumed: Path, config: Path, tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    asked = ("--calibrate", "classifier", "--method", "platt", "--out", str(file))
    done = CliRunner().invoke(app, ["validity", str(config), *asked])
    assert done.exit_code == 0, done.output
    assert "classifier against human: labelled.jsonl" in done.output
    assert set(json.loads(file.read_text())["languages"]) | set(json.loads(file.read_text())["refused"]) == {*LANGUAGES}
    rows = (resumed / "validity.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + len(SCORERS) * len(LANGUAGES)
    raw = yaml.safe_load(config.read_text())
    raw["score"]["scorers"].append({"name": "fair", "type": "calibrated", "of": "classifier", "path": str(file)})
    context = prepare(validate(raw), Store.at(str(resumed)), Progress())
    pending = context.pending(commands(context.stages)["score"])
    assert {unit["scorer"] for unit in pending} == {"fair"}  # the other scores stand


def test_gate_comparison_and_leaderboard_read_finished_runs(resumed: Path, tmp_path: Path) -> None:
    spec = tmp_path / "gate.yaml"
    demands = (  # twelve steps do not lower toxicity by 1
        ("{scorer: insults, toxicity: {metric: average_toxicity, reduction: 1, languages: macro}}", 1),
        ("margins: [{metric: perplexity, scorer: held-out-text, max_ratio: 100}]", 0),
        ("margins: [{metric: perplexity, scorer: nobody, max_ratio: 100}]", 2),
    )
    for demand, code in demands:
        spec.write_text(demand)
        done = CliRunner().invoke(app, ["gate", str(resumed), "--spec", str(spec)])
        assert done.exit_code == code, done.output
    verdicts = json.loads((resumed / "report" / "results.json").read_text(encoding="utf-8"))["verdicts"]
    assert [(row["model"], len(row["checks"])) for row in verdicts] == [("detox", 5)]  # by the experiment's own rules
    page = tmp_path / "page"
    done = CliRunner().invoke(app, ["leaderboard", str(resumed.parent), "--out", str(page)])
    assert done.exit_code == 0, done.output
    assert "small" in (page / "index.html").read_text(encoding="utf-8")
    done = CliRunner().invoke(app, ["compare", str(resumed), str(tmp_path)])
    assert done.exit_code == 2 and "report/results.json" in done.output


def test_show_counts_units_by_table_and_keys(resumed: Path) -> None:
    text = finished("show", resumed).stdout
    assert re.search(r"generations\s+base\s+6/6", text)
    assert re.search(r"checkpoints\s+detox\s+1/1", text)


def test_config_in_the_run_folder_is_the_whole_experiment(resumed: Path, config: Path) -> None:
    stored: Experiment = validate(yaml.safe_load((resumed / "experiment.yaml").read_text(encoding="utf-8")))
    assert stored == load(config)
    with run_lock(Store.at(str(resumed))):
        pass
