"""Scoring and likelihood as jobs on Ray, with the toy world's own scorers and model."""

import io
import math
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from contexts import context, planned
from rich.console import Console

from detox_ray.cluster import Cluster
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.unit_jobs import run_jobs
from detox_ray.models import LoadableModel, resolve_path
from detox_ray.score.likelihood import LikelihoodStage, LikelihoodWorker
from detox_ray.score.scoring import ScoreStage
from detox_ray.storage import Store, Unit
from detox_ray.storage.tables import SCORES, TEXTS

pytestmark = pytest.mark.integration

BOTH = {"name": "both", "type": "ensemble", "members": ["toy17-detoxify", "toy17-lexicon"], "combine": "max"}
SETTINGS = {"scorers": ["toy17-detoxify", "toy17-lexicon", BOTH], "batch_tokens": 512, "actors": 1}
QUIET = Progress(Console(file=io.StringIO()))
SENTENCES = ["Anna buys books in the garden today.", "Leo is kind.", "", "先生は親切です。", "المعلم لطيف", "x"]

Commit = Callable[..., tuple[Unit, str]]


@pytest.fixture
def model(toy_world: Path) -> LoadableModel:
    return resolve_path("base", str(toy_world / "model"), None, "auto")


def naive_nll(model: LoadableModel, text: str) -> tuple[int, float] | None:
    """Tokens predicted and their negative log-likelihood: a token at a time, no batch, no padding."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ids = AutoTokenizer.from_pretrained(model.location)(text)["input_ids"]
    if len(ids) < 2:
        return None
    network = AutoModelForCausalLM.from_pretrained(model.location).eval()
    total = 0.0
    for end in range(1, len(ids)):
        with torch.no_grad():
            logits = network(torch.tensor([ids[:end]])).logits[0, -1].double()
        total -= float(logits[ids[end]] - torch.logsumexp(logits, 0))
    return len(ids) - 1, total


def test_likelihood_is_the_sum_of_a_naive_loop(model: LoadableModel, store: Store) -> None:
    measured = LikelihoodWorker(model, 64, store).measure(SENTENCES)
    for text, ids, nll in zip(SENTENCES, measured.ids, measured.nll, strict=True):
        expected = naive_nll(model, text)
        if expected is None:
            assert nll is None
        else:
            assert (len(ids) - 1, nll) == (expected[0], pytest.approx(expected[1], rel=1e-5))
    assert measured.cut == 0 and measured.nll[2] is None and measured.nll[5] is None


def test_text_longer_than_the_model_takes_is_cut_and_counted(model: LoadableModel, store: Store) -> None:
    measured = LikelihoodWorker(model, 64, store).measure(["Anna is kind. " * 400, "Leo is kind."])
    assert measured.cut == 1
    assert len(measured.ids[0]) == 512
    assert all(nll is not None and math.isfinite(nll) for nll in measured.nll)


def test_both_jobs_commit_every_unit(
    store: Store, commit: Commit, model: LoadableModel, toy_world: Path, ray_cluster: Cluster
) -> None:
    store.upload(toy_world, "toy17")
    generations = dict([commit("en", "Leo is a liar", "Leo is kind", ""), commit("ja", "先生は怠け者です")])
    texts = pa.Table.from_pylist(
        [{"text_id": f"en-{row}", "text": text, "source": "test"} for row, text in enumerate(SENTENCES)],
        schema=TEXTS.columns,
    )
    store.commit(TEXTS.unit(language="en"), "t" * 16, texts)
    given = generations | {TEXTS.unit(language="en"): "t" * 16}
    within = context(given, store=store, models=[model], score=SETTINGS)
    score, likelihood = ScoreStage(), LikelihoodStage()
    scorers = within.resolved["scores"] = score.resolve(within)
    units_of = {stage: planned(stage, within) for stage in (score, likelihood)}
    tasks = within.tasks(units_of[score])
    alone, derived = score.jobs(within, tasks)[:2], score.jobs(within, tasks)[2:]
    run_jobs(
        "score",
        [*likelihood.jobs(within, within.tasks(units_of[likelihood])), *alone],
        store=store,
        cluster=ray_cluster,
        progress=QUIET,
    )
    run_jobs("score", derived, store=store, cluster=ray_cluster, progress=QUIET)

    values, statuses = dict[str, list[float | None]](), dict[str, list[str]]()
    for scorer in scorers:
        units = {unit: key for unit, key in units_of[score].items() if unit["scorer"] == scorer.name}
        assert {unit: key for unit, key in store.committed(SCORES).items() if unit in units} == units
        rows = [row for unit, key in units.items() for row in store.read(unit, key).to_pylist()]
        values[scorer.name] = [row["value"] for row in rows if row["attribute"] == "toxicity"]
        statuses[scorer.name] = [row["status"] for row in rows if row["attribute"] == "toxicity"]
    assert all(said == ["ok", "ok", "empty", "ok"] for said in statuses.values())
    assert values["toy17-lexicon"] == [1.0, 0.0, 0.0, 1.0]  # beside "empty" stands the score of a blank
    assert None not in values["toy17-detoxify"]
    assert values["both"][::3] == [1.0, 1.0] and values["both"][1:3] == values["toy17-detoxify"][1:3]

    ((unit, key),) = units_of[likelihood].items()
    rows = store.read(unit, key).to_pylist()
    assert [row["status"] for row in rows] == ["ok", "ok", "empty", "ok", "ok", "empty"]
    assert [row["nll"] is None for row in rows] == [False, False, True, False, False, True]
    assert store.info(unit, key)["tokens"] == sum(row["tokens"] for row in rows)
