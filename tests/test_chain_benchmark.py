"""The benchmark of a whole evaluation runs on a small case, and its sides evaluate the same models."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "chain.py"


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_quick_benchmark_prints_its_ratios_and_all_sides_find_the_same_toxicity() -> None:
    command = [sys.executable, "-W", "ignore", str(SCRIPT), "--quick"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert answer.returncode == 0, answer.stderr[-3000:]
    scripts, generation = (
        float(re.search(rf"^{title}: ([\d.]+) \(goal", answer.stdout, re.M)[1])
        for title in ("scripts / ours, seconds", "ours / bare vllm.LLM, tokens per second")
    )
    assert scripts > 1  # the goals are for the whole case on a quiet machine
    assert generation > 0.5
    ours, theirs = re.findall(r"^\S+ +toxicity of base +([\d.]+)$", answer.stdout, re.M)  # of the sides that score
    assert abs(float(ours) - float(theirs)) < 0.3  # 64 completions each, drawn with other random numbers
