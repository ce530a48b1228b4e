"""benchmarks/gpu.py runs as it is: its reduced form on a CPU, and a part that fails leaves the others alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "ignore", str(SCRIPT), "--quick", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_reduced_form_runs_on_a_cpu(tmp_path: Path) -> None:
    answer = run("--device", "cpu", "--json", str(tmp_path / "results.json"))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    parts = json.loads((tmp_path / "results.json").read_text())["parts"]
    assert parts["dpo"]["tokens a second"] > 0 and parts["dpo"]["planned GiB"] > 0
    assert parts["qlora"] == {"left out": "QLoRA needs a GPU"}
    assert parts["scoring"]["largest difference of a score"] < 1e-4
    assert parts["generation"]["tokens a second, a seed per request"] > 0
    assert parts["edits"]["undone to the bit"] and parts["edits"]["largest change of a logit"] > 0.1


@pytest.mark.integration
@pytest.mark.slow
def test_a_part_that_fails_says_why() -> None:
    answer = run("edits", "--device", "cuda")  # on a machine without a GPU
    if answer.returncode == 0:
        pytest.skip("there is a GPU")
    assert answer.returncode == 1 and "failed: " in answer.stdout
