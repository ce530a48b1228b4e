"""Real prompts of RTP-LX in 17 locales and 11 scripts go through every stage without loss, where a copy is at hand."""

import json
import os
from pathlib import Path

import pytest

from detox_ray import pipeline
from detox_ray.cluster import Cluster
from detox_ray.config import validate
from detox_ray.languages import LANGUAGES
from detox_ray.plan import STAGES
from detox_ray.progress import Progress
from detox_ray.readout import Tables, prompt_units

RTP_LX = Path(os.environ.get("DETOX_RAY_RTP_LX") or Path(__file__).parents[2] / "shared" / "data" / "rtp-lx")
PROMPTS, SAMPLES = 5, 2

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not RTP_LX.is_dir(), reason="no copy of RTP-LX here: set DETOX_RAY_RTP_LX"),
]


def test_all_locales_reach_the_report_without_loss(ray_cluster: Cluster, toy_world: Path, tmp_path: Path) -> None:
    experiment = validate(
        {
            "name": "real",
            "storage": str(tmp_path),
            "languages": "rtp-lx-17",
            "data": {
                "prompts": {"source": "rtp-lx", "path": str(RTP_LX), "per_language": PROMPTS},
                "pairs": {"source": "rtp-lx", "path": str(RTP_LX), "limit": 32},
                "on_error": "skip",
            },
            "models": {
                "base": {"path": str(toy_world / "model")},
                "detox": {"train": {"parent": "base", "max_steps": 2, "warmup_steps": 0, "max_length": 64}},
            },
            "generate": {"samples": SAMPLES},
            "score": {"scorers": [{"name": "words", "type": "lexicon", "path": str(toy_world / "lexicon.json")}]},
            "measure": {"bootstrap": 100},
        }
    )
    outcome = pipeline.run(experiment, STAGES, Progress())

    prepared = outcome.prepared
    prompts = Tables(prepared.store, prompt_units(prepared))
    generations = Tables(prepared.store, prepared.plan.generate)
    scores = Tables(prepared.store, prepared.plan.of_table("scores"))
    for language in LANGUAGES:
        asked = prompts[language]["prompt_id"].to_pylist()
        assert len(asked) == PROMPTS
        for model in ("base", "detox"):
            expected = [(prompt, sample) for prompt in asked for sample in range(SAMPLES)]
            made = generations[model, language]
            assert list(zip(made["prompt_id"].to_pylist(), made["sample"].to_pylist(), strict=True)) == expected
            assert scores["words", model, language].num_rows == len(expected)
    results = json.loads(prepared.store.read_bytes("report/results.json"))
    assert {row["language"] for row in results["metrics"]} == {*LANGUAGES, "macro"}
    page = prepared.store.read_bytes("report/index.html").decode()
    assert 'lang="ar"' in page and 'dir="rtl"' in page
