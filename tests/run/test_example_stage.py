"""A stage that is added through the registry alone takes part in all that is written once for all stages.

Its run is killed in the middle of it and goes on; then show, plan, gate, report and compare know its tables, its
metrics and its section.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow.dataset as pads
import pytest
from example_stage import CAPITALS, MARKS
from typer.testing import CliRunner
from whole_run import LANGUAGES, PER_UNIT, PROMPTS, finished, markers

from detox_ray.cli import app
from detox_ray.config.loading import load
from detox_ray.estimate import assumptions_for, estimate
from detox_ray.gate import INCONCLUSIVE, PASS, judge, read_spec
from detox_ray.run import comparison_page, open_run
from detox_ray.run.stages import commands, registered

pytestmark = pytest.mark.integration


def test_the_stage_stands_between_generate_and_measure() -> None:
    names = list(commands(registered()))
    assert names.index("generate") < names.index("loudness") < names.index("measure")


def test_a_killed_run_has_every_unit_of_the_stage(resumed: Path) -> None:
    opened = open_run(str(resumed))
    planned, committed = opened.plan()["loudness"], opened.committed()
    # models, languages, shards; two marks beside the capitals
    assert len(planned) == 2 * len(LANGUAGES) * (PROMPTS // PER_UNIT) * 3
    assert planned.items() <= committed.items()
    assert {unit.table for unit in planned} == {CAPITALS.name, MARKS.name}
    manifest = json.loads((resumed / "manifest.json").read_text())
    assert manifest["loudness"]["base"]["units"] == 6
    assert manifest["loudness"]["!"]["base"]["counted_by"] == "str.count"
    assert manifest["stage_seconds"]["loudness"] > 0


def test_show_lists_the_tables_by_their_keys(resumed: Path) -> None:
    shown = CliRunner().invoke(app, ["show", str(resumed)])
    rows = [" ".join(line.split()) for line in shown.output.splitlines()]
    assert "capitals base 6/6 ✓" in rows
    assert "marks !, detox 6/6 ✓" in rows


def test_plan_has_a_row_of_the_stage(config: Path) -> None:
    experiment = load(config)
    found = estimate(experiment, assumptions_for(experiment), registered())
    assert ("loudness", "capital letters") in {(cost.stage, cost.what) for cost in found.stages}


def test_the_metrics_are_those_of_a_naive_count(resumed: Path) -> None:
    results = open_run(str(resumed)).results()
    rows = {(r["metric"], r["scorer"], r["model"], r["language"]): r for r in results["metrics"]}
    texts = pads.dataset(resumed / "generations", partitioning="hive").to_table().to_pylist()
    mine = [row["text"] for row in texts if (row["model"], row["language"]) == ("base", "en")]
    letters = [letter for text in mine for letter in text if letter.isalpha()]
    share = sum(letter.isupper() for letter in letters) / len(letters)
    assert rows["capital_share", "letters", "base", "en"]["value"] == pytest.approx(share)
    assert rows["capital_share", "letters", "base", "macro"]["ci_low"] is not None
    per_completion = sum(text.count("!") for text in mine) / len(mine)
    assert rows["marks", "!", "base", "en"]["value"] == pytest.approx(per_completion)
    assert {r["metric"] for r in results["comparisons"]} >= {"capital_share", "marks"}


def test_the_report_has_the_section_and_the_metrics(resumed: Path) -> None:
    page = (resumed / "report" / "index.html").read_text(encoding="utf-8")
    assert 'id="loudness"' in page and "capital letters</li>" in page
    assert "Capital letters" in page


def test_the_gate_asks_for_the_metric(resumed: Path, tmp_path: Path) -> None:
    spec = tmp_path / "gate.yaml"
    spec.write_text("margins: [{metric: capital_share, max_increase: 0.5}]")
    verdict: Any = judge(open_run(str(resumed)).results(), read_spec(spec))
    assert verdict.verdict in (PASS, INCONCLUSIVE) and verdict.checks[0].asked.startswith("Capital letters")


def test_compare_and_the_commands_know_the_stage(resumed: Path, tmp_path: Path) -> None:
    page = comparison_page.write_page([("small", open_run(str(resumed)).results())], "Comparison", tmp_path / "page")
    assert "Capital letters" in page.read_text(encoding="utf-8")
    said = " ".join(finished("loudness", "--help").split())
    assert "Only loudness: capital letters and marks of every completion" in said


def test_a_finished_run_makes_nothing_of_the_stage_again(resumed: Path, config: Path) -> None:
    before = markers(resumed)
    assert CliRunner().invoke(app, ["run", str(config)]).exit_code == 0
    assert markers(resumed) == before
