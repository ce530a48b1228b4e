"""The job on Ray: every prompt and sample once, the same ones however the work was cut up."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from contexts import context, planned
from rich.console import Console
from small_generation import PROMPTS, config

from detox_ray.cluster import Cluster
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.stage import Context, Input
from detox_ray.cluster.unit_jobs import run_jobs
from detox_ray.config import GenerateConfig
from detox_ray.generate import GenerateStage, prompt_seed, resolve_engine
from detox_ray.generate.engine import Engine
from detox_ray.generate.seeds import unit_seed
from detox_ray.models import LoadableModel
from detox_ray.storage import Store, Unit
from detox_ray.storage.tables import PROMPTS as ASKED

pytestmark = pytest.mark.integration


def planned_units(
    store: Store, model: LoadableModel, prompts: dict[str, tuple[str, int]], settings: GenerateConfig
) -> tuple[Context, dict[Unit, str]]:
    asked = {ASKED.unit(language=language): key for language, (key, _) in prompts.items()}
    within = context(asked, store=store, models=[model], generate=settings.model_dump(), seed=5)
    for language, (key, rows) in prompts.items():
        within.data[ASKED.unit(language=language)] = Input(key, rows)
    return within, planned(GenerateStage(), within)


def run(within: Context, units: dict[Unit, str], cluster: Cluster) -> None:
    """Make the units by actors."""
    jobs = GenerateStage().jobs(within, within.tasks(units))
    run_jobs("generate", jobs, store=within.store, cluster=cluster, progress=Progress(Console(file=io.StringIO())))


def rows_of(store: Store, units: dict[Unit, str]) -> list[dict[str, Any]]:
    return [row for unit, key in units.items() for row in store.read(unit, key).to_pylist()]


EXPECTED = [
    (f"{language}-{row:05d}", sample, prompt_seed(5, f"{language}-{row:05d}") + sample)
    for language, texts in PROMPTS.items()
    for row in range(len(texts))
    for sample in range(25)
]


def test_vllm_job_makes_every_sample_once_as_the_engine_alone_does(
    store: Store,
    small_model: LoadableModel,
    prompts: dict[str, tuple[str, int]],
    load: Callable[[str, GenerateConfig], Engine],
    ray_cluster: Cluster,
) -> None:
    settings = config(engine="vllm")
    within, units = planned_units(store, small_model, prompts, settings)
    run(within, units, ray_cluster)
    rows = rows_of(store, units)
    assert [(row["prompt_id"], row["sample"], row["seed"]) for row in rows] == EXPECTED
    infos = [store.info(unit, key) for unit, key in units.items()]
    assert {(info["engine"], info["engine_version"]) for info in infos} == {resolve_engine(settings)}
    assert sum(info["tokens"] for info in infos) == sum(row["tokens"] for row in rows)
    assert sum("load_seconds" in info for info in infos) == 1  # one engine for all languages

    seeds = [seed for _, sample, seed in EXPECTED if sample == 0]
    alone = load("vllm", settings).generate([text for texts in PROMPTS.values() for text in texts], seeds)
    assert [row["text"] for row in rows] == [sample.text for samples in alone.completions for sample in samples]


def test_a_unit_with_one_seed_is_the_same_when_another_process_makes_it_alone(
    store: Store,
    small_model: LoadableModel,
    prompts: dict[str, tuple[str, int]],
    load: Callable[[str, GenerateConfig], Engine],
    ray_cluster: Cluster,
) -> None:
    """Let an actor make all units one after another, and this process only the last one, as after a kill."""
    settings = config(engine="vllm", seeding="unit")
    within, units = planned_units(store, small_model, prompts, settings)
    run(within, units, ray_cluster)
    rows = rows_of(store, units)
    assert [(row["prompt_id"], row["sample"]) for row in rows] == [(prompt, sample) for prompt, sample, _ in EXPECTED]
    seeds = [unit_seed(5, unit) for unit in units]
    assert len(set(seeds)) == len(units)
    for (unit, key), seed in zip(units.items(), seeds, strict=True):
        assert set(store.read(unit, key)["seed"].to_pylist()) == {seed}
        assert store.info(unit, key)["seeding"] == "unit"

    last = list(units)[-1]
    assert (last["language"], last.shard) == ("ja", 0)
    alone = load("vllm", settings).generate(PROMPTS["ja"], unit_seed(5, last))
    texts = store.read(last, units[last])["text"].to_pylist()
    assert texts == [sample.text for samples in alone.completions for sample in samples]


def test_a_transformers_unit_with_one_seed_is_the_same_when_another_worker_makes_it_alone(
    store: Store, small_model: LoadableModel, prompts: dict[str, tuple[str, int]]
) -> None:
    within, units = planned_units(store, small_model, prompts, config(engine="transformers", seeding="unit"))
    (job,) = GenerateStage().jobs(within, within.tasks(units))
    worker = job.worker(**job.settings)
    *_, last = [worker.make(task) for task in job.tasks]
    assert job.worker(**job.settings).make(job.tasks[-1]).rows.equals(last.rows)


def test_samples_do_not_depend_on_actors_or_restarts(
    store: Store, small_model: LoadableModel, prompts: dict[str, tuple[str, int]], ray_cluster: Cluster
) -> None:
    """One worker in this process makes all; then two actors make all but the first unit, which is committed."""
    within, units = planned_units(store, small_model, prompts, config(engine="transformers"))
    (job,) = GenerateStage().jobs(within, within.tasks(units))
    worker = job.worker(**job.settings)
    products = [worker.make(task) for task in job.tasks]
    rows = [row for product in products for row in product.rows.to_pylist()]
    assert [(row["prompt_id"], row["sample"], row["seed"]) for row in rows] == EXPECTED

    first, *others = job.tasks
    store.commit(first.unit, first.key, products[0].rows, products[0].info)
    marker = f"commits/{first.unit.stem(first.key)}.json"
    before = store.read_bytes(marker)
    within, same_units = planned_units(store, small_model, prompts, config(engine="transformers", actors=2))
    assert same_units == units
    run(within, {task.unit: task.key for task in others}, ray_cluster)
    assert rows_of(store, units) == rows
    assert store.read_bytes(marker) == before  # what was committed is left alone
