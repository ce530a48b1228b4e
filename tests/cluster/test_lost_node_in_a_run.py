"""A whole command that loses a node while it generates: it ends by itself, with the rows of an undisturbed run."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from simulated_hosts import SimulatedHosts, needs_hosts, wait_for

from detox_ray.storage import Store
from detox_ray.storage.tables import GENERATIONS

pytestmark = [pytest.mark.slow, pytest.mark.integration, needs_hosts]
ROOT = Path(__file__).parents[2]
GENERATE = (sys.executable, "-m", "detox_ray", "generate")


def config(folder: Path) -> Path:
    """Write an experiment of 24 units."""
    experiment: dict[str, Any] = {
        "name": "small",
        "storage": str(folder),
        "languages": ["en", "fr", "ja"],
        "data": {"prompts": {"source": "toy17", "per_language": 32}},
        "models": {"base": {"path": "toy17"}},
        "generate": {"engine": "transformers", "samples": 4, "prompts_per_unit": 4, "actors": 2},
        "score": {"scorers": ["toy17-lexicon"]},
    }
    folder.mkdir()
    file = folder / "experiment.yaml"
    file.write_text(yaml.safe_dump(experiment))
    return file


def rows(folder: Path) -> dict[str, Any]:
    """Return the rows of each unit that is committed."""
    store = Store.at(str(folder / "small"))
    return {unit.name: store.read(unit, key).to_pylist() for unit, key in store.committed(GENERATIONS).items()}


def test_a_power_cut_costs_no_second_call_and_changes_no_row(tmp_path: Path) -> None:
    quiet = config(tmp_path / "quiet")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([*GENERATE, quiet], check=True, env=environment, cwd=ROOT)
    disturbed = config(tmp_path / "disturbed")
    with SimulatedHosts("head", "w1", "w2", environment={"PYTHONPATH": str(ROOT)}) as hosts:
        hosts.cluster({"w1": 1, "w2": 1})
        run = hosts["head"].start(*GENERATE, disturbed, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        commits = tmp_path / "disturbed" / "small" / "commits" / "generations"
        wait_for(lambda: len(list(commits.rglob("*.json"))) >= 6 or run.poll() is not None, "some units")
        hosts["w1"].cut_power()
        printed, _ = run.communicate(timeout=150)
    assert run.returncode == 0, printed
    assert "the node w1 (10.87.0.2) is lost" in printed
    made = rows(tmp_path / "disturbed")
    assert len(made) == 24
    assert made == rows(tmp_path / "quiet")
