"""A stage that is added through the registry alone takes part in all that is written once for all stages.

Its run is killed in the middle of it and goes on; then show, plan, gate, report and compare know its tables, its
metrics and its section.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.dataset as pads
import pytest
import yaml
from example_stage import CAPITALS, MARKS, LoudnessStage
from typer.testing import CliRunner

from detox_ray.cli import app
from detox_ray.config.loading import load
from detox_ray.estimate import assumptions_for, estimate
from detox_ray.gate import INCONCLUSIVE, PASS, judge, read_spec
from detox_ray.run import comparison_page, open_run
from detox_ray.run.stages import STAGES, commands, registered

pytestmark = pytest.mark.integration

LANGUAGES = ["ar", "en"]
HERE = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def stage() -> Iterator[None]:
    STAGES.append(LoudnessStage)
    yield
    STAGES.remove(LoudnessStage)


@pytest.fixture(scope="module")
def config(toy_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loud")
    model = {"path": str(toy_world / "model")}
    experiment = {
        "name": "loud",
        "storage": str(folder / "runs"),
        "languages": LANGUAGES,
        "data": {"prompts": {"source": "file", "path": str(toy_world / "prompts.jsonl"), "per_language": 6}},
        "models": {"base": model, "other": model},
        "compare": [{"model": "other", "parent": "base"}],
        "generate": {"engine": "transformers", "samples": 3, "prompts_per_unit": 2},
        "score": {"scorers": [{"name": "insults", "type": "lexicon", "path": str(toy_world / "lexicon.json")}]},
        "measure": {"bootstrap": 100},
    }
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(experiment), encoding="utf-8")
    return path


def started(config: Path, *arguments: str) -> "subprocess.Popen[str]":
    """The command line with the stage, in a process group of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(HERE / "with_example_stage.py"), *arguments, str(config)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, env=environment
    )


@pytest.fixture(scope="module")
def run(config: Path) -> Path:
    """The folder of a run that was killed in the middle of the stage; the same command carried it to its end."""
    folder = config.parent / "runs" / "loud"
    process = started(config, "run")
    assert process.stdout is not None
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if re.search(r"loudness: [1-9]\d*/", line):
                break
        else:
            pytest.fail("".join(lines))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    before = markers(folder)
    again = started(config, "run")
    said, _ = again.communicate(timeout=400)
    assert again.returncode == 0, said
    assert before.items() <= markers(folder).items(), "what was committed is not made again"
    return folder


def markers(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in sorted((folder / "commits").rglob("*.json"))}


def test_the_stage_stands_between_generate_and_measure() -> None:
    names = list(commands(registered()))
    assert names.index("generate") < names.index("loudness") < names.index("measure")


def test_a_killed_run_has_every_unit_of_the_stage(run: Path) -> None:
    opened = open_run(str(run))
    planned, committed = opened.plan()["loudness"], opened.committed()
    assert len(planned) == 2 * len(LANGUAGES) * 3 * 3  # models, languages, shards; two marks beside the capitals
    assert planned.items() <= committed.items()
    assert {unit.table for unit in planned} == {CAPITALS.name, MARKS.name}
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["loudness"]["base"]["units"] == 6
    assert manifest["loudness"]["!"]["base"]["counted_by"] == "str.count"
    assert manifest["stage_seconds"]["loudness"] > 0


def test_show_lists_the_tables_by_their_keys(run: Path) -> None:
    shown = CliRunner().invoke(app, ["show", str(run)])
    rows = [" ".join(line.split()) for line in shown.output.splitlines()]
    assert "capitals base 6/6 ✓" in rows
    assert "marks !, other 6/6 ✓" in rows


def test_plan_has_a_row_of_the_stage(config: Path) -> None:
    experiment = load(config)
    found = estimate(experiment, assumptions_for(experiment), registered())
    assert ("loudness", "capital letters") in {(cost.stage, cost.what) for cost in found.stages}


def test_the_metrics_are_those_of_a_naive_count(run: Path) -> None:
    results = open_run(str(run)).results()
    rows = {(r["metric"], r["scorer"], r["model"], r["language"]): r for r in results["metrics"]}
    texts = pads.dataset(run / "generations", partitioning="hive").to_table().to_pylist()
    mine = [row["text"] for row in texts if (row["model"], row["language"]) == ("base", "en")]
    letters = [letter for text in mine for letter in text if letter.isalpha()]
    share = sum(letter.isupper() for letter in letters) / len(letters)
    assert rows["capital_share", "letters", "base", "en"]["value"] == pytest.approx(share)
    assert rows["capital_share", "letters", "base", "macro"]["ci_low"] is not None
    per_completion = sum(text.count("!") for text in mine) / len(mine)
    assert rows["marks", "!", "base", "en"]["value"] == pytest.approx(per_completion)
    assert {r["metric"] for r in results["comparisons"]} >= {"capital_share", "marks"}


def test_the_report_has_the_section_and_the_metrics(run: Path) -> None:
    page = (run / "report" / "index.html").read_text(encoding="utf-8")
    assert 'id="loudness"' in page and "capital letters</li>" in page
    assert "Capital letters" in page


def test_the_gate_asks_for_the_metric(run: Path, tmp_path: Path) -> None:
    spec = tmp_path / "gate.yaml"
    spec.write_text("margins: [{metric: capital_share, max_increase: 0.5}]")
    verdict: Any = judge(open_run(str(run)).results(), read_spec(spec))
    assert verdict.verdict in (PASS, INCONCLUSIVE) and verdict.checks[0].asked.startswith("Capital letters")


def test_compare_and_the_commands_know_the_stage(run: Path, tmp_path: Path) -> None:
    page = comparison_page.write_page([("loud", open_run(str(run)).results())], "Comparison", tmp_path / "page")
    assert "Capital letters" in page.read_text(encoding="utf-8")
    process = subprocess.run(
        [sys.executable, str(HERE / "with_example_stage.py"), "loudness", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    )
    assert "Only loudness: capital letters and marks of every completion" in " ".join(process.stdout.split())


def test_a_finished_run_makes_nothing_of_the_stage_again(run: Path, config: Path) -> None:
    before = markers(run)
    assert CliRunner().invoke(app, ["run", str(config)]).exit_code == 0
    assert markers(run) == before
