"""Languages, fluency and diversity of the same completions, as one run of Ray jobs."""

import io
from pathlib import Path

import pyarrow as pa
import pytest
from contexts import context, planned
from rich.console import Console
from tiny_models import save_mt5

from detox_ray.cluster import Cluster
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.unit_jobs import run_jobs
from detox_ray.score.diversity import DiversityStage
from detox_ray.score.fluency import FluencyStage
from detox_ray.score.identify import IdentificationStage
from detox_ray.storage import Store
from detox_ray.storage.tables import DIVERSITIES, EMPTY, FLUENCIES, GENERATIONS, IDENTIFICATIONS, OK, PROMPTS, TOO_SHORT

pytestmark = pytest.mark.integration

TEXTS = {
    "en": [" to the market and bought some fresh bread", " auf den Markt gegangen und hat Brot gekauft", "", " so"],
    "ja": ["市場へ行って新しいパンを買いました。"],
}


def test_all_three_jobs_commit_every_unit(store: Store, tmp_path: Path, ray_cluster: Cluster) -> None:
    given = {}
    for language, texts in TEXTS.items():
        asked = [{"prompt_id": f"{language}-0", "text": "Anna", "source": "test", "source_index": "0"}]
        store.commit(PROMPTS.unit(language=language), "p", pa.Table.from_pylist(asked, schema=PROMPTS.columns))
        shared = {"prompt_id": f"{language}-0", "tokens": 1, "finish_reason": "stop", "seed": 0}
        rows = [{**shared, "sample": at, "text": text} for at, text in enumerate(texts)]
        unit = GENERATIONS.unit(model="base", language=language)
        store.commit(unit, "g", pa.Table.from_pylist(rows, schema=GENERATIONS.columns))
        given |= {unit: "g", PROMPTS.unit(language=language): "p"}
    save_mt5(tmp_path / "mt5")
    evaluator = {"name": "mt5", "path": str(tmp_path / "mt5"), "dtype": "float32"}
    quality = {"identifier": "py3langid", "diversity": "words", "fluency": [evaluator]}
    score = {"scorers": ["detoxify-multilingual"], "actors": 1}
    within = context(given, store=store, quality=quality, score=score)
    stages = (IdentificationStage(), FluencyStage(), DiversityStage())
    plans = [planned(stage, within) for stage in stages]
    jobs = [job for stage, units in zip(stages, plans, strict=True) for job in stage.jobs(within, within.tasks(units))]
    quiet = Progress(Console(file=io.StringIO()))
    run_jobs("score", jobs, store=store, cluster=ray_cluster, progress=quiet)

    for stage, units in zip(stages, plans, strict=True):
        assert store.committed(stage.writes[0]) == units
    of = {unit: store.read(unit, key).to_pylist() for units in plans for unit, key in units.items()}
    english = of[IDENTIFICATIONS.unit(model="base", language="en")]
    assert [(row["identified"], row["status"]) for row in english] == [
        ("en", OK),
        ("de", OK),
        (None, EMPTY),
        (None, TOO_SHORT),
    ]
    assert [row["wrong_lines"] for row in english] == [0, 1, 0, 0]
    assert [row["identified"] for row in of[IDENTIFICATIONS.unit(model="base", language="ja")]] == ["ja"]
    assert [row["status"] for row in of[FLUENCIES.unit(evaluator="mt5", model="base", language="en")]] == [
        OK,
        OK,
        EMPTY,
        OK,
    ]
    units = [row["unigrams"] for row in of[DIVERSITIES.unit(model="base", language="en")]]
    assert units == [8, 8, 0, 1]
