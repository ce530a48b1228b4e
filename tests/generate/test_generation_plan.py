"""Seeds, units and keys: what a completion depends on, and what it does not."""

import pytest
from contexts import context, planned
from small_generation import config

from detox_ray.cluster.stage import Input
from detox_ray.config import GenerateConfig
from detox_ray.generate import GenerateStage, check, prompt_seed, resolve_engine
from detox_ray.generate.seeds import unit_seed
from detox_ray.models import LoadableModel, vllm_options
from detox_ray.storage import Unit
from detox_ray.storage.completion_tables import ABILITY
from detox_ray.storage.tables import GENERATIONS
from detox_ray.storage.tables import PROMPTS as ASKED

MODEL = LoadableModel("base", "/nowhere", False, None, "auto", "m" * 16)
PROMPTS = {"en": ("p" * 16, 7), "fr": ("q" * 16, 3)}


def plan(
    model: LoadableModel, prompts: dict[str, tuple[str, int]], settings: GenerateConfig, seed: int
) -> dict[Unit, str]:
    """Unit -> key. ``prompts``: language -> key of its prompts, and how many they are."""
    asked = {ASKED.unit(language=language): key for language, (key, _) in prompts.items()}
    within = context(asked, models=[model], generate=settings.model_dump(), seed=seed)
    for language, (key, rows) in prompts.items():
        within.data[ASKED.unit(language=language)] = Input(key, rows)
    return planned(GenerateStage(), within)


def test_seed_follows_from_experiment_and_prompt_alone() -> None:
    assert prompt_seed(0, "en-00001") == prompt_seed(0, "en-00001")
    seeds = {
        prompt_seed(seed, f"{language}-{row:05d}") for seed in (0, 1) for language in ("en", "fr") for row in range(500)
    }
    assert len(seeds) == 2000
    assert all(seed >= 0 and seed + 10_000 < 2**31 for seed in seeds)


def test_seeds_spread_over_their_range() -> None:
    seeds = [prompt_seed(3, f"en-{row:05d}") / 2**31 for row in range(4000)]
    assert sum(seeds) / len(seeds) == pytest.approx(0.5, abs=0.02)


def test_a_unit_is_so_many_prompts_of_one_language() -> None:
    units = plan(MODEL, PROMPTS, config(prompts_per_unit=3, engine="transformers"), 0)
    assert [(unit["model"], unit["language"], unit.shard) for unit in units] == [
        ("base", "en", 0),
        ("base", "en", 1),
        ("base", "en", 2),
        ("base", "fr", 0),
    ]
    assert len(set(units.values())) == 4


def test_language_without_prompts_has_no_unit() -> None:
    assert plan(MODEL, {"en": ("p" * 16, 0)}, config(engine="transformers"), 0) == {}


@pytest.mark.parametrize(
    "change",
    [
        {"samples": 5},
        {"temperature": 0.5},
        {"top_p": 1.0},
        {"max_tokens": 9},
        {"prompts_per_unit": 4},
        {"engine": "vllm"},
        {"seeding": "unit"},
    ],
)
def test_key_changes_with_what_changes_a_completion(change: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_options, "version", lambda: "1.0")
    unit = GENERATIONS.unit(model="base", language="fr", shard=0)
    before = plan(MODEL, PROMPTS, config(engine="transformers"), 0)[unit]
    assert plan(MODEL, PROMPTS, config(**{"engine": "transformers", **change}), 0)[unit] != before


def test_key_changes_with_model_dtype_seed_prompts_and_engine_version(monkeypatch: pytest.MonkeyPatch) -> None:
    unit, settings = GENERATIONS.unit(model="base", language="fr", shard=0), config(engine="vllm")
    monkeypatch.setattr(vllm_options, "version", lambda: "1.0")
    keys = [
        plan(MODEL, PROMPTS, settings, 0)[unit],
        plan(MODEL._replace(key="n" * 16), PROMPTS, settings, 0)[unit],
        plan(MODEL._replace(dtype="bfloat16"), PROMPTS, settings, 0)[unit],
        plan(MODEL, PROMPTS, settings, 1)[unit],
        plan(MODEL, {**PROMPTS, "fr": ("r" * 16, 3)}, settings, 0)[unit],
    ]
    monkeypatch.setattr(vllm_options, "version", lambda: "1.1")
    keys.append(plan(MODEL, PROMPTS, settings, 0)[unit])
    assert len(set(keys)) == 6


def test_key_does_not_change_with_how_the_work_is_shared_out() -> None:
    shared = config(engine="transformers", actors=7, gpu_memory_utilization=0.5, cpu_kv_cache_gb=3)
    assert plan(MODEL, PROMPTS, shared, 0) == plan(MODEL, PROMPTS, config(engine="transformers"), 0)


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_with_a_seed_per_unit_the_key_changes_with_what_vllm_draws_together(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_options, "version", lambda: "1.0")
    plain, smaller = (
        plan(MODEL, PROMPTS, config(engine=engine, seeding="unit", cpu_kv_cache_gb=size), 0) for size in (3, 1)
    )
    assert (plain == smaller) == (engine == "transformers")
    assert plain == plan(MODEL, PROMPTS, config(engine=engine, seeding="unit", cpu_kv_cache_gb=3, actors=7), 0)


def test_a_units_seed_follows_from_experiment_table_language_and_shard_but_not_from_the_model() -> None:
    units = [
        table.unit(model="base", language=language, shard=shard)
        for table in (GENERATIONS, ABILITY.generations)
        for language in ("en", "fr")
        for shard in range(3)
    ]
    seeds = [unit_seed(seed, unit) for seed in (0, 1) for unit in units]
    assert len(set(seeds)) == 24 and all(0 <= seed < 2**31 for seed in seeds)
    assert unit_seed(0, GENERATIONS.unit(model="tuned", language="en")) == seeds[0]


def test_greedy_completions_take_no_seed_of_a_unit() -> None:
    with pytest.raises(ValueError, match=r"seeding: must be prompt with temperature 0.* \(got 'unit'\)"):
        config(seeding="unit", temperature=0, samples=1)
    assert config(seeding="unit").greedy(8) == config().greedy(8)


def test_a_seed_per_unit_is_noted_by_the_check() -> None:
    notes: list[str] = []
    for seeding in ("prompt", "unit"):
        experiment = context({}, models=[MODEL], generate={"engine": "transformers", "seeding": seeding}).experiment
        assert GenerateStage().check(experiment, notes.append) == []
    (note,) = notes
    assert note.startswith("generate.seeding: unit")


def test_engine_that_is_not_installed_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_options, "version", lambda: None)
    assert resolve_engine(config(engine="auto")).name == "transformers"
    (problem,) = check(config(engine="vllm"))
    assert (problem.field, problem.value) == ("generate.engine", "vllm")


def test_several_gpus_need_vllm() -> None:
    (problem,) = check(config(engine="transformers", tensor_parallel=2))
    assert problem.field == "generate.tensor_parallel"
