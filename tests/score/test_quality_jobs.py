"""Languages, fluency and diversity of the same completions, as one run of Ray jobs."""

import io
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console
from tiny_models import save_mt5

from detox_ray.cluster import Cluster
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.unit_jobs import run_jobs
from detox_ray.config import QualityConfig, ScoreConfig
from detox_ray.models import resolve_path
from detox_ray.score.diversity import diversity_job, plan_diversities
from detox_ray.score.fluency import fluency_job, plan_fluencies
from detox_ray.score.identify import identification_job, plan_identifications
from detox_ray.storage import Store, Unit
from detox_ray.storage.tables import EMPTY, GENERATIONS, OK, PROMPTS, TOO_SHORT

pytestmark = pytest.mark.integration

TEXTS = {
    "en": [" to the market and bought some fresh bread", " auf den Markt gegangen und hat Brot gekauft", "", " so"],
    "ja": ["市場へ行って新しいパンを買いました。"],
}


def test_all_three_jobs_commit_every_unit(store: Store, tmp_path: Path, ray_cluster: Cluster) -> None:
    generations, prompts = {}, {}
    for language, texts in TEXTS.items():
        asked = [{"prompt_id": f"{language}-0", "text": "Anna", "source": "test", "source_index": "0"}]
        store.commit(Unit("prompts", (language,)), "p", pa.Table.from_pylist(asked, schema=PROMPTS))
        shared = {"prompt_id": f"{language}-0", "tokens": 1, "finish_reason": "stop", "seed": 0}
        rows = [{**shared, "sample": at, "text": text} for at, text in enumerate(texts)]
        unit = Unit("generations", ("base", language))
        store.commit(unit, "g", pa.Table.from_pylist(rows, schema=GENERATIONS))
        generations[unit], prompts[language] = "g", "p"
    save_mt5(tmp_path / "mt5")
    evaluator = resolve_path("mt5", str(tmp_path / "mt5"), None, "float32")
    quality = QualityConfig(identifier="py3langid")
    score = ScoreConfig.model_validate({"scorers": ["detoxify-multilingual"], "actors": 1})
    identified = plan_identifications(generations, quality)
    fluent = plan_fluencies(evaluator, generations, prompts)
    diverse = plan_diversities(None, generations, prompts)
    jobs = [
        identification_job(identified, generations, quality, store),
        fluency_job(evaluator, fluent, generations, prompts, score, store),
        diversity_job(None, diverse, generations, prompts, store),
    ]
    quiet = Progress(Console(file=io.StringIO()))
    run_jobs("score", jobs, actors=1, store=store, cluster=ray_cluster, progress=quiet)

    for units in (identified, fluent, diverse):
        (table,) = {unit.table for unit in units}
        assert store.committed(table) == units
    of = {
        unit: store.read(unit, key).to_pylist()
        for units in (identified, fluent, diverse)
        for unit, key in units.items()
    }
    english = of[Unit("identifications", ("base", "en"))]
    assert [(row["identified"], row["status"]) for row in english] == [
        ("en", OK),
        ("de", OK),
        (None, EMPTY),
        (None, TOO_SHORT),
    ]
    assert [row["wrong_lines"] for row in english] == [0, 1, 0, 0]
    assert [row["identified"] for row in of[Unit("identifications", ("base", "ja"))]] == ["ja"]
    assert [row["status"] for row in of[Unit("fluencies", ("mt5", "base", "en"))]] == [OK, OK, EMPTY, OK]
    units = [row["unigrams"] for row in of[Unit("diversities", ("base", "en"))]]
    assert units == [8, 8, 0, 1]
