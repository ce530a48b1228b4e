"""The shipped experiments: every one is valid, and those of the papers hold the papers' values.

The values are written out here a second time, from the papers' tables and scripts: docs/papers.md, "Training by Li et
al.", docs/papers.md, "Training by Neplenbroek et al.", and docs/papers.md, "Sampling in both papers".
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from detox_ray.config import ConfigError, Experiment, TrainConfig
from detox_ray.config.loading import load

FOLDER = Path(__file__).parents[1] / "configs"
EXPERIMENTS = sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != "gate")

LI = {
    "mgpt": "ai-forever/mGPT",
    "bloom-1b7": "bigscience/bloom-1b7",
    "bloom-7b1": "bigscience/bloom-7b1",
    "llama2-7b": "meta-llama/Llama-2-7b-hf",
    "llama3-8b": "meta-llama/Meta-Llama-3-8B",
    "aya-23-8b": "CohereLabs/aya-23-8B",
}
NEPLENBROEK = {
    "aya-expanse-8b": "CohereLabs/aya-expanse-8b",
    "llama3.1-8b": "meta-llama/Llama-3.1-8B",
    "llama3.1-8b-instruct": "meta-llama/Llama-3.1-8B-Instruct",
    "gemma2-2b": "google/gemma-2-2b",
    "gemma2-2b-it": "google/gemma-2-2b-it",
    "gemma2-9b": "google/gemma-2-9b",
    "gemma2-9b-it": "google/gemma-2-9b-it",
    "mistral-7b": "mistralai/Mistral-7B-v0.3",
    "mistral-7b-instruct": "mistralai/Mistral-7B-Instruct-v0.3",
}

# Li et al., Table 6 and xg/training/dpo.py.
LI_TRAIN: dict[str, Any] = {
    "method": "dpo",
    "loss": "sigmoid",
    "beta": 0.1,
    "optimizer": "rmsprop",
    "learning_rate": 1e-5,
    "scheduler": "constant_with_warmup",
    "warmup_steps": 150,
    "weight_decay": 0.0,  # the script's argument is not passed on
    "max_grad_norm": 10.0,
    "evaluate_every": 25,
    "early_stopping": 10,
    "keep": "best",
    "max_length": 256,
    "max_prompt_length": 64,
    "truncation": "prompt-first",
    "length_filter": "characters",
    "separator": "",
    "bos": "always",
    "reference": "live",
    "batching": "padded",
    "validation_fraction": 0.05,
    "validation_limit": None,
    "split_seed": 0,
    "data_fraction": 1.0,
    "dtype": "float32",
    "autocast": "float16",
    "gradient_checkpointing": True,
}
LI_FULL = LI_TRAIN | {"tuning": "full", "lora": None, "epochs": 5, "batch_size": 4, "gradient_accumulation": 1}
LI_LORA = LI_TRAIN | {
    "tuning": "lora",  # what the published command runs; the text says QLoRA
    "lora": {"r": 64, "alpha": 16, "dropout": 0.05, "target_modules": "li2024"},
    "epochs": 20,
    "batch_size": 1,
    "gradient_accumulation": 4,
}

# Neplenbroek et al., qlora.py.
QLORA: dict[str, Any] = {
    "tuning": "qlora",
    "merge_into": "4-bit",
    "lora": {"r": 64, "alpha": 16, "dropout": 0.1, "target_modules": "all-linear"},
    "max_length": 512,
    "autocast": "float16",
    "gradient_checkpointing": True,
    "keep": "best",
    "seed": 42,
}
NEPLENBROEK_DPO = QLORA | {
    "method": "dpo",
    "loss": "sigmoid",
    "beta": 0.1,
    "length_filter": None,
    "truncation": "prompt-first",
    "max_prompt_length": 128,
    "validation_fraction": 0.05,
    "validation_limit": None,
    "split_seed": 42,
    "optimizer": "rmsprop",
    "learning_rate": 1e-5,
    "scheduler": "constant_with_warmup",
    "warmup_steps": 150,
    "weight_decay": 0.05,
    "max_grad_norm": 10.0,
    "batch_size": 1,
    "gradient_accumulation": 4,
    "early_stopping": 10,
    "reference": "live",
    "batching": "padded",
}
NEPLENBROEK_SFT = QLORA | {
    "method": "sft",
    "loss": "nll",
    "beta": None,
    "optimizer": "adamw",
    "learning_rate": 3e-4,
    "scheduler": "linear",
    "weight_decay": 0.001,
    "max_grad_norm": 1.0,  # transformers' default
    "batch_size": 4,
    "gradient_accumulation": 1,
    "evaluate_every": 500,
    "early_stopping": None,
}
SFT_ON_PAIRS = NEPLENBROEK_SFT | {"train_on": "pairs", "loss_on": "text", "separator": " ", "truncation": "end"}
SFT_ON_CORPUS = NEPLENBROEK_SFT | {
    "train_on": "corpus",
    "overflow": "chunks",
    "train_limit": 94_966,
    "validation_limit": 10_551,
    "warmup_steps": 150,
    "epochs": 1,
}


@cache
def shipped(name: str, *overrides: str) -> Experiment:
    return load(FOLDER / f"{name}.yaml", overrides)


def train(experiment: Experiment, model: str) -> TrainConfig:
    found = experiment.models[model].train
    assert found is not None
    return found


def differing(config: TrainConfig, wanted: dict[str, Any]) -> dict[str, Any]:
    """Field -> value of what is not as ``wanted``."""
    is_now = config.model_dump()
    return {name: is_now[name] for name, value in wanted.items() if is_now[name] != value}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_shipped_experiment_is_valid_and_called_as_its_file(name: str) -> None:
    experiment = shipped(name)
    assert experiment.name == {"rtp-lx": "bloom-1b7-dpo"}.get(name, name)
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 120


def test_there_is_one_for_every_model_of_the_papers() -> None:
    assert {*LI, *NEPLENBROEK} <= set(EXPERIMENTS)
    for name, path in (LI | NEPLENBROEK).items():
        assert shipped(name).models["base"].path == path


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if not name.startswith("toy17")])
def test_text_is_sampled_as_in_the_papers(name: str) -> None:
    generate = shipped(name).generate
    assert (generate.samples, generate.temperature, generate.top_p, generate.max_tokens) == (25, 0.9, 0.8, 20)


@pytest.mark.parametrize("name", LI)
def test_li_et_als_values(name: str) -> None:
    experiment = shipped(name)
    assert differing(train(experiment, "detox"), LI_FULL if name in ("mgpt", "bloom-1b7") else LI_LORA) == {}
    assert experiment.seed == 0
    assert train(experiment, "detox").workers == 1
    assert experiment.data.pairs is not None
    assert experiment.data.pairs.source == "toxicity-pairwise"
    assert experiment.measure.convention == "paper"


@pytest.mark.parametrize("name", NEPLENBROEK)
def test_neplenbroek_et_als_values_for_detoxification(name: str) -> None:
    experiment = shipped(name)
    assert differing(train(experiment, "detox"), NEPLENBROEK_DPO | {"epochs": 1, "evaluate_every": 100}) == {}
    assert differing(train(experiment, "detox-sft"), SFT_ON_PAIRS | {"epochs": 1, "warmup_steps": 100}) == {}
    assert differing(train(experiment, "jigsaw"), SFT_ON_CORPUS) == {}
    assert experiment.data.pairs is not None
    assert experiment.data.corpus is not None
    assert (experiment.data.pairs.source, experiment.data.corpus.source) == (
        "toxicity-pairwise",
        "jigsaw-unintended-bias",
    )
    assert experiment.measure.convention == "neplenbroek2025"


def test_neplenbroek_et_als_values_for_debiasing() -> None:
    experiment = shipped("debias")
    assert differing(train(experiment, "biasdpo"), NEPLENBROEK_DPO | {"epochs": 20, "evaluate_every": 25}) == {}
    assert differing(train(experiment, "bias-sft"), SFT_ON_PAIRS | {"epochs": 20, "warmup_steps": 25}) == {}
    assert differing(train(experiment, "panda"), SFT_ON_CORPUS) == {}
    assert experiment.data.pairs is not None
    assert experiment.data.corpus is not None
    assert (experiment.data.pairs.source, experiment.data.corpus.source) == ("biasdpo", "panda")


@pytest.mark.parametrize(("rows", "epochs", "steps"), [(24_576, 1, 5_836), (1_145, 20, 5_420)])
def test_the_published_step_counts_follow(rows: int, epochs: int, steps: int) -> None:
    """DetoxDPO has 5,836 steps and BiasDPO 5,420: no pair is filtered out, 5 % are held out, a step sees 4.

    Source: docs/papers.md, "Training by Neplenbroek et al.".
    """
    held_out = -(-rows * 5 // 100)
    assert (rows - held_out) // 4 * epochs == steps
    detox = train(shipped("gemma2-9b"), "detox")
    assert detox.length_filter is None
    assert (detox.validation_fraction, detox.batch_size * detox.gradient_accumulation * detox.workers) == (0.05, 4)


@pytest.mark.parametrize("names", [LI, NEPLENBROEK], ids=["li", "neplenbroek"])
def test_a_papers_experiments_differ_in_the_model_only(names: dict[str, str]) -> None:
    def rest(name: str) -> str:
        whole = shipped(name).model_dump(mode="json")
        del whole["name"], whole["models"]["base"]
        return json.dumps(whole)  # the order too: it is that of the report

    full = [name for name in names if train(shipped(name), "detox").tuning == "full"]
    for group in (full, [name for name in names if name not in full]):
        assert len({rest(name) for name in group}) <= 1


@pytest.mark.parametrize("name", [*LI, *NEPLENBROEK, "mgpt-seeds", "mgpt-learning-rates"])
def test_an_experiment_of_a_paper_says_only_what_is_its_own(name: str) -> None:
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 12
    assert next(iter(shipped(name).models)) == "base"  # the models' order is that of the common part


def test_a_common_part_is_no_experiment_by_itself() -> None:
    parts = sorted((FOLDER / "common").glob("*.yaml"))
    assert parts
    for part in parts:
        assert max(map(len, part.read_text(encoding="utf-8").splitlines())) <= 120
        with pytest.raises(ConfigError, match="name: is required"):
            load(part)


def test_the_large_models_share_everything_but_model_and_placement() -> None:
    names = ["llama3.1-70b", "llama3.1-70b-qlora", "aya-expanse-32b", "aya-expanse-32b-qlora"]
    assert {shipped(name).generate.tensor_parallel for name in names} == {8}
    for name in names:
        config = train(shipped(name), "detox")
        assert config.workers * config.batch_size * config.gradient_accumulation == 32, "pairs of a step"
        assert (shipped(name).cluster.gpus, shipped(name).cluster.gpus_per_node) == (config.workers, 8)
        assert (config.tuning, config.deepspeed) == (("qlora", "zero0") if "qlora" in name else ("full", "zero3"))
    own = {
        "tuning",
        "lora",
        "merge_into",
        "deepspeed",
        "workers",
        "placement",
        "gradient_accumulation",
        "learning_rate",
    }
    first = train(shipped(names[0]), "detox")
    for name in names[1:]:
        assert set(differing(train(shipped(name), "detox"), first.model_dump())) <= own


@pytest.mark.parametrize("name", ["mgpt-seeds", "mgpt-learning-rates"])
def test_what_extends_mgpt_varies_only_what_it_says(name: str) -> None:
    whole, mgpt = shipped(name), shipped("mgpt")
    varies = "seed" if name == "mgpt-seeds" else "learning_rate"
    kept = {"name", "models"}
    assert whole.model_dump(exclude=kept) == mgpt.model_dump(exclude=kept)
    assert whole.models["base"] == mgpt.models["base"]
    for model in whole.models:
        if model != "base":
            assert set(differing(train(whole, model), train(mgpt, "detox").model_dump())) <= {varies}


@pytest.mark.parametrize("name", LI)
def test_li_et_als_can_be_run_fast_by_one_override(name: str) -> None:
    fast = train(shipped(name, "models.detox.train.recipe=fast"), "detox")
    assert (fast.reference, fast.batching, fast.length_filter, fast.truncation, fast.validation_limit) == (
        "cached",
        "length-grouped",
        "tokens",
        "end",
        256,
    )
    kept = ("beta", "learning_rate", "batch_size", "gradient_accumulation", "epochs", "max_length", "tuning", "lora")
    paper = train(shipped(name), "detox")
    assert all(getattr(fast, field) == getattr(paper, field) for field in kept)


@pytest.mark.parametrize("name", NEPLENBROEK)
def test_neplenbroek_et_als_can_be_run_fast_by_two_overrides(name: str) -> None:
    overrides = ("models.detox.train.recipe=fast", "models.detox.train.max_prompt_length=null")
    fast = train(shipped(name, *overrides), "detox")
    assert (fast.reference, fast.batching, fast.truncation) == ("cached", "length-grouped", "end")
    assert all(override in (FOLDER / f"{name}.yaml").read_text(encoding="utf-8") for override in overrides)


@pytest.mark.parametrize("name", [name for name in LI if name not in ("mgpt", "bloom-1b7")])
def test_the_texts_qlora_is_one_override_away(name: str) -> None:
    assert train(shipped(name, "models.detox.train.tuning=qlora"), "detox").merge_into == "parent"


def test_five_seeds_share_everything_but_the_seed() -> None:
    experiment = shipped("mgpt-seeds")
    assert experiment.seed_groups == {"detox": [f"detox-seed{seed}" for seed in range(5)]}
    models = [train(experiment, name) for name in experiment.seed_groups["detox"]]
    assert [model.seed for model in models] == [0, 1, 2, 3, 4]
    assert all(differing(model, LI_FULL) == {} for model in models)


def test_the_learning_rates_are_those_of_appendix_c() -> None:
    experiment = shipped("mgpt-learning-rates")
    rates = [values["learning_rate"] for values in experiment.sweeps["detox"].values()]
    assert rates == [1e-7, 5e-7, 1e-6, 5e-6, 1e-5]
    assert all(differing(train(experiment, name), LI_FULL | {"learning_rate": rate}) == {}
               for name, rate in zip(experiment.sweeps["detox"], rates, strict=True))  # fmt: skip
