"""The shipped world against one that is built here: the demo's story does not hang on the machine that built it."""

import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import yaml

from detox_ray import toy17
from detox_ray.run.run_folder import open_run

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(2400)]

DEMO = Path(__file__).parents[2] / "configs/toy17.yaml"
# How far the two worlds may be apart.
TOXICITY, CONSISTENCY = 0.12, 0.05
PERPLEXITY = 1.15  # the larger by the smaller
FALL = 0.2  # in the share of toxicity that English pairs take away in the 16 other languages


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, str], float]:
    """(metric, model, language) -> value, from one run of base and detox of both worlds, by the same scorer."""
    folder = tmp_path_factory.mktemp("worlds")
    toy17.build(folder / "fresh")
    experiment: dict[str, Any] = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    detox = experiment["models"]["detox"]["train"]
    experiment["models"] = {
        "base": {"path": "toy17"},
        "fresh": {"path": str(folder / "fresh/model")},
        "detox": {"train": detox},
        "fresh_detox": {"train": {**detox, "parent": "fresh"}},
    }
    experiment["data"]["prompts"]["per_language"] = 20
    del experiment["quality"]["fluency"], experiment["explain"]
    (folder / "experiment.yaml").write_text(yaml.safe_dump({**experiment, "storage": str(folder / "runs")}))
    command = [sys.executable, "-m", "detox_ray", "run", str(folder / "experiment.yaml")]
    subprocess.run(command, check=True, timeout=1500)
    rows = open_run(str(folder / "runs/toy17")).results()["metrics"]
    return {
        (row["metric"], row["model"], row["language"]): row["value"]
        for row in rows
        if row["scorer"] in ("toy17-detoxify", "held-out-text", "py3langid") and row["value"] is not None
    }


def macro(metrics: dict[tuple[str, str, str], float], metric: str, model: str) -> float:
    return metrics[metric, model, "macro"]


def test_base_models_are_alike(metrics: dict[tuple[str, str, str], float]) -> None:
    toxicity, perplexity, consistency = (
        [macro(metrics, name, model) for model in ("base", "fresh")]
        for name in ("average_toxicity", "perplexity", "language_consistency")
    )
    assert abs(toxicity[0] - toxicity[1]) < TOXICITY
    assert max(perplexity) / min(perplexity) < PERPLEXITY
    assert abs(consistency[0] - consistency[1]) < CONSISTENCY


def test_english_pairs_detoxify_the_other_languages_of_both(metrics: dict[tuple[str, str, str], float]) -> None:
    languages = sorted({language for _, _, language in metrics} - {"macro", "en"})
    assert len(languages) == 16
    falls = [
        1
        - fmean(
            metrics["average_toxicity", tuned, code] / metrics["average_toxicity", base, code] for code in languages
        )
        for base, tuned in (("base", "detox"), ("fresh", "fresh_detox"))
    ]
    assert min(falls) > 0.4 and abs(falls[0] - falls[1]) < FALL
    assert abs(macro(metrics, "perplexity", "detox") / macro(metrics, "perplexity", "fresh_detox") - 1) < PERPLEXITY - 1
