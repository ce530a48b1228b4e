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
    scripts, per_model, generation = (
        float(re.search(rf"^{title}: ([\d.]+) \(goal", answer.stdout, re.M)[1])
        for title in (
            "scripts / ours, seconds",
            "per-model / ours, seconds",
            "ours / bare vllm.LLM, tokens per second",
        )
    )
    assert scripts > per_model > 1  # the goals are for the whole case on a quiet machine
    assert generation > 0.5
    toxicity = re.findall(r"^(\S+) +toxicity of (\w+) +([\d.]+)$", answer.stdout, re.M)
    assert len(toxicity) == 3 * 2  # of the sides that score, for each model
    for model in ("base", "noisy"):
        values = [float(value) for _, name, value in toxicity if name == model]
        assert max(values) - min(values) < 0.3  # 64 completions each, drawn with other random numbers
