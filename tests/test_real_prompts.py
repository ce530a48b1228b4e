"""Real prompts of RTP-LX in 17 locales and 11 scripts go from prompt to report without loss, in a bucket as storage."""

import json
import os
from pathlib import Path

import pytest

from detox_ray.cluster import Cluster
from detox_ray.cluster.progress import Progress
from detox_ray.config.languages import GROUPS
from detox_ray.config.loading import validate
from detox_ray.run import pipeline
from detox_ray.run.record import read_plan
from detox_ray.storage import Store, UnitTables, tables

RTP_LX = Path(os.environ.get("DETOX_RAY_RTP_LX") or Path(__file__).parents[2] / "shared" / "data" / "rtp-lx")
PROMPTS, SAMPLES = 5, 2

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not RTP_LX.is_dir(), reason="no copy of RTP-LX here: set DETOX_RAY_RTP_LX"),
]


def test_all_locales_reach_a_report_in_a_bucket_without_loss(
    toy_world: Path, tmp_path: Path, s3_endpoint: str, ray_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETOX_RAY_CACHE", str(tmp_path / "cache"))
    options = f"endpoint_override={s3_endpoint}&scheme=http&region=us-east-1"
    experiment = {
        "name": "real",
        "storage": f"s3://bucket/runs?{options}",
        "languages": "rtp-lx-17",
        "data": {
            "prompts": {"source": "rtp-lx", "path": str(RTP_LX), "per_language": PROMPTS},
            "pairs": {"source": "rtp-lx", "path": str(RTP_LX), "limit": 32},
            "on_error": "skip",
        },
        "models": {"base": {"path": str(toy_world / "model")}},
        "generate": {"engine": "transformers", "samples": SAMPLES},
        "validity": {"source": "rtp-lx", "path": str(RTP_LX), "per_language": 40},
        "score": {"scorers": [{"name": "insults", "type": "lexicon", "path": str(toy_world / "lexicon.json")}]},
        "measure": {"bootstrap": 100},
    }
    pipeline.run(validate(experiment), None, Progress())

    store = Store.at(f"s3://bucket/runs/real?{options}")
    plan = read_plan(store)
    prompts = UnitTables(store, store.committed(tables.PROMPTS))
    generations, scores = UnitTables(store, plan["generate"]), UnitTables(store, plan["scores"])
    for language in GROUPS["rtp-lx-17"]:
        asked = prompts[language]["prompt_id"].to_pylist()
        assert len(asked) == PROMPTS
        expected = [(prompt, sample) for prompt in asked for sample in range(SAMPLES)]
        made = generations["base", language]
        assert list(zip(made["prompt_id"].to_pylist(), made["sample"].to_pylist(), strict=True)) == expected
        assert scores["insults", "base", language].num_rows == len(expected)
    results = json.loads(store.read_bytes("report/results.json"))
    assert {row["language"] for row in results["metrics"]} == {*GROUPS["rtp-lx-17"], "macro"}
    judged = {row["language"]: row for row in results["validity"]}
    assert judged.keys() == set(GROUPS["rtp-lx-17"])
    assert {row["reference"] for row in judged.values()} == {"human: rtp-lx"}
    assert all(row["n"] > 0 for row in judged.values())
    page = store.read_bytes("report/index.html").decode()
    assert '"ar":["Arabic","rtl"]' in page
