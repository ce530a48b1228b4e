"""A whole experiment on a small world: every stage for real (DeepSpeed, vLLM, Detoxify), killed and resumed."""

import json
import re
import shutil
import signal
from itertools import combinations
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from perspective_server import Server
from typer.testing import CliRunner
from whole_run import LANGUAGES, PROMPTS, SAMPLES, SCORERS, SECRET, ended, finished, markers, numbers

from detox_ray.cli import app
from detox_ray.cluster.progress import Progress
from detox_ray.config import Experiment
from detox_ray.config.loading import load, validate
from detox_ray.run.plan import prepare
from detox_ray.run.stages import commands
from detox_ray.storage import Store
from detox_ray.storage.lock import run_lock

pytestmark = pytest.mark.integration


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


def test_a_secret_is_in_no_file_and_no_message_of_a_run(resumed: Path, perspective: Server) -> None:
    assert {headers["x-goog-api-key"] for headers in perspective.headers} == {SECRET}, "the run used it"
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


def test_changed_threshold_only_measures_and_reports_again(
    resumed: Path, config: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    from detox_ray.run import pipeline

    shutil.copytree(resumed, tmp_path / resumed.name)
    monkeypatch.setattr(pipeline, "connect", lambda **_: pytest.fail("Ray was started"))
    changed = pipeline.run(load(config, ["measure.threshold=0.9", f"storage={tmp_path}"]), None, Progress())
    assert {done.command: done.new_units for done in changed.commands if done.new_units} == {"measure": 5, "report": 1}


@pytest.mark.slow
def test_killed_and_stopped_runs_have_the_numbers_of_an_undisturbed_one(resumed: Path, config: Path) -> None:
    runs = config.parent / "runs"
    assert ended(signal.SIGKILL, r"train detox: \d+/", "run", config, "name=stopped")[0] == -signal.SIGKILL
    assert ended(signal.SIGINT, r"generate: \d+/", "run", config, "name=stopped")[0] == 3
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
    own = CliRunner().invoke(app, ["gate", str(resumed), "--model", "detox"])
    assert own.exit_code == {"pass": 0, "fail": 1, "inconclusive": 4}[verdicts[0]["verdict"]], own.output
    assert f"gate: {verdicts[0]['verdict']}, detox against base" in own.output
    assert CliRunner().invoke(app, ["gate", str(resumed), "--model", "base"]).exit_code == 2
    page = tmp_path / "page"
    done = CliRunner().invoke(app, ["leaderboard", str(resumed.parent), "--out", str(page)])
    assert done.exit_code == 0, done.output
    assert "small" in (page / "index.html").read_text(encoding="utf-8")
    done = CliRunner().invoke(app, ["compare", str(resumed), str(tmp_path)])
    assert done.exit_code == 2 and "report/results.json" in done.output


def test_show_counts_units_by_table_and_keys(resumed: Path) -> None:
    text = finished("show", resumed)
    assert re.search(r"generations\s+base\s+6/6", text)
    assert re.search(r"checkpoints\s+detox\s+1/1", text)


def test_config_in_the_run_folder_is_the_whole_experiment(resumed: Path, config: Path) -> None:
    stored: Experiment = validate(yaml.safe_load((resumed / "experiment.yaml").read_text(encoding="utf-8")))
    assert stored == load(config)
    with run_lock(Store.at(str(resumed))):
        pass
