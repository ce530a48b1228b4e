"""Ability and knowledge on Ray: killed in the middle of each, a run ends with the tables of an undisturbed one."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.dataset as pads
import pytest
import yaml

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TABLES = ("ability_generations", "ability_identifications", "ability_diversities", "ability_fluencies", "metrics")


def experiment(toy_world: Path, storage: Path) -> dict[str, Any]:
    model = {"path": str(toy_world / "model")}
    return {
        "name": "suites",
        "storage": str(storage),
        "languages": ["en", "ja", "hi", "fr"],
        "models": {"base": model, "other": {**model, "parent": "base"}},
        "generate": {"engine": "transformers", "prompts_per_unit": 2},
        "quality": {"fluency": [{"name": "judge", "model": "base"}]},
        "ability": {"prompts": {"source": "toy17"}, "max_tokens": 12},
        "knowledge": {"tasks": ["toy17-cloze"], "questions_per_unit": 8},
        "measure": {"bootstrap": 100},
    }


def started(config: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "detox_ray", "run", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def killed_at(pattern: str, config: Path) -> None:
    process = started(config)
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if re.search(pattern, line):
            os.killpg(process.pid, signal.SIGKILL)
            break
    else:
        pytest.fail("".join(said))
    process.communicate()


def finished(config: Path) -> str:
    process = started(config)
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output
    return output


def rows(folder: Path, table: str) -> list[list[Any]]:
    """The values of a table in the order of its files, numbers to eight digits."""
    files = sorted((folder / table).rglob("*.parquet"), key=lambda file: (str(file.parent), file.name[:5]))
    values = [list(row.values()) for file in files for row in pads.dataset(file).to_table().to_pylist()]
    return [[round(value, 8) if isinstance(value, float) else value for value in row] for row in values]


def markers(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (folder / "commits").rglob("*.json")}


def test_a_run_killed_in_each_part_ends_as_an_undisturbed_one(toy_world: Path, tmp_path: Path) -> None:
    configs = {}
    for name in ("killed", "whole"):
        configs[name] = tmp_path / f"{name}.yaml"
        configs[name].write_text(yaml.safe_dump(experiment(toy_world, tmp_path / name)), encoding="utf-8")
    folder = tmp_path / "killed" / "suites"
    for pattern in (r"generate: [1-9]\d*/", r"score: [1-9]\d*/"):
        before = markers(folder)
        killed_at(pattern, configs["killed"])
        assert before.items() <= markers(folder).items(), "what was committed is not made again"
    before = markers(folder)
    finished(configs["killed"])
    assert before.items() <= markers(folder).items(), "what was committed is not made again"
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert "Accuracy in toy17-cloze" in page
    finished(configs["whole"])
    for table in TABLES:
        assert rows(folder, table) == rows(tmp_path / "whole" / "suites", table), table
    answers = [rows(run, "knowledge_answers") for run in (folder, tmp_path / "whole" / "suites")]
    chosen = [[(row[0], row[6], row[7], row[8]) for row in each] for each in answers]
    assert chosen[0] == chosen[1] and len(chosen[0]) == 2 * 4 * 48
