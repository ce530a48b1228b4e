"""The train block: settings that are refused before anything starts, and settings that the key depends on."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from small_training import train_config

from detox_ray import train
from detox_ray.config import Problem, TrainConfig
from detox_ray.train import deepspeed_config, settings


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(settings, "machine_has_gpu", lambda: False)


GPU_ONLY = [
    ({"dtype": "bfloat16"}, "dtype"),
    ({"autocast": "bfloat16"}, "autocast"),
    ({"tuning": "qlora"}, "tuning"),
]


@pytest.mark.parametrize(("change", "field"), GPU_ONLY)
def test_what_needs_a_gpu_is_refused_without_one(
    monkeypatch: pytest.MonkeyPatch, no_gpu: None, change: dict[str, object], field: str
) -> None:
    found = train.check("models.detox.train", train_config(**change))
    assert [p.field for p in found] == [f"models.detox.train.{field}"]
    assert "needs GPU workers" in found[0].rule
    monkeypatch.setattr(settings, "machine_has_gpu", lambda: True)
    assert train.check("models.detox.train", train_config(**change)) == []
    on_cpu = train_config(**change, resources_per_worker={"CPU": 1, "GPU": 0})
    assert [p.field for p in train.check("f", on_cpu)] == [f"f.{field}"]


def test_a_cluster_may_have_the_gpu_that_this_machine_has_not(monkeypatch: pytest.MonkeyPatch, no_gpu: None) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://elsewhere:10001")
    assert train.check("f", train_config(dtype="bfloat16")) == []


def test_tracker_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch, no_gpu: None) -> None:
    monkeypatch.setattr(settings.tracking, "check", lambda trackers: [("wandb", "needs the package wandb")])
    (problem,) = train.check("f", train_config(tracking=["wandb"]))
    assert problem == Problem("f.tracking", "wandb", "needs the package wandb")


class TestElastic:
    def test_it_goes_on_with_fewer_workers_at_the_same_rows_a_step(self) -> None:
        config = train_config(workers=4, min_workers=3, gradient_accumulation=3, deepspeed="zero0")
        assert train.check("f", config) == []
        assert [settings.accumulation(config, world) for world in (4, 3)] == [3, 4]

    def test_numbers_of_workers_that_would_change_the_step_are_refused_with_what_would_do(self) -> None:
        config = train_config(workers=4, min_workers=2, deepspeed="zero0")
        (problem,) = train.check("f", config)
        assert problem.field == "f.min_workers"
        assert "make gradient_accumulation a multiple of 3" in problem.rule
        assert train.check("f", config.model_copy(update={"gradient_accumulation": 3})) == []

    def test_stage_whose_checkpoints_are_bound_to_the_number_of_workers_is_refused(self) -> None:
        (problem,) = train.check("f", train_config(workers=2, min_workers=1, deepspeed="zero2"))
        assert "ZeRO stage 2" in problem.rule and "zero0" in problem.rule

    def test_strict_placement_is_refused(self) -> None:
        config = train_config(workers=2, min_workers=1, deepspeed="zero0", placement="STRICT_SPREAD")
        assert ["STRICT" in p.rule for p in train.check("f", config)] == [True]


# Each field of the train block is in one of these two, with a change of it.
CHANGES: dict[str, dict[str, object]] = {
    "method": {"method": "orpo"},
    "loss": {"loss": "ipo"},
    "tuning": {"tuning": "lora"},
    "lora": {"tuning": "lora", "lora": {"r": 8}},
    "merge_into": {"tuning": "qlora", "merge_into": "4-bit"},
    "trainable": {"trainable": ["mlp"]},
    "train_on": {"method": "sft", "train_on": "corpus"},
    "loss_on": {"method": "sft", "loss_on": "text"},
    "data_fraction": {"data_fraction": 0.5},
    "train_limit": {"train_limit": 40},
    "separator": {"separator": " "},
    "bos": {"bos": "always"},
    "max_length": {"max_length": 32},
    "length_filter": {"length_filter": "characters"},
    "truncation": {"truncation": "prompt-first", "max_prompt_length": 16},
    "max_prompt_length": {"truncation": "prompt-first", "max_prompt_length": 16},
    "overflow": {"method": "sft", "train_on": "corpus", "overflow": "chunks"},
    "validation_fraction": {"validation_fraction": 0.2},
    "validation_limit": {"validation_limit": 8},
    "split_seed": {"split_seed": 5},
    "beta": {"beta": 0.2},
    "label_smoothing": {"loss": "robust", "label_smoothing": 0.2},
    "sft_weight": {"sft_weight": 0.5},
    "cpo_alpha": {"method": "cpo", "cpo_alpha": 0.5},
    "simpo_gamma": {"method": "cpo", "loss": "simpo", "simpo_gamma": 0.1},
    "desirable_weight": {"method": "kto", "desirable_weight": 2.0},
    "undesirable_weight": {"method": "kto", "undesirable_weight": 2.0},
    "optimizer": {"optimizer": "adamw"},
    "learning_rate": {"learning_rate": 2e-3},
    "scheduler": {"scheduler": "cosine"},
    "warmup_steps": {"warmup_steps": 3},
    "weight_decay": {"weight_decay": 0.1},
    "max_grad_norm": {"max_grad_norm": 1.0},
    "epochs": {"epochs": 2},
    "max_steps": {"max_steps": 9},
    "batch_size": {"batch_size": 2},
    "gradient_accumulation": {"gradient_accumulation": 2},
    "dtype": {"dtype": "bfloat16"},
    "autocast": {"autocast": "bfloat16"},
    "reference": {"reference": "live"},  # the same but for rounding, which bfloat16 makes large
    "batching": {"batching": "padded"},  # draws other dropout masks
    "batch_tokens": {"batch_tokens": 512},
    "evaluate_every": {"evaluate_every": 5},
    "early_stopping": {"early_stopping": 3},
    "keep": {"keep": "last"},
    "workers": {"workers": 1},  # rows a step
}
# What a field is compared with where the block without it is none.
BEFORE: dict[str, dict[str, object]] = {
    "truncation": {},
    "max_prompt_length": {"truncation": "prompt-first", "max_prompt_length": 20},
    "label_smoothing": {"loss": "robust", "label_smoothing": 0.1},
}
HARMLESS: dict[str, dict[str, object]] = {
    "parent": {"parent": "renamed"},
    "recipe": {"recipe": "paper", **{k: v for k, v in train_config().model_dump().items() if k != "recipe"}},
    "seed": {"seed": 0},  # said, or the experiment's
    "gradient_checkpointing": {"gradient_checkpointing": True},
    "min_workers": {"min_workers": 1},
    "resources_per_worker": {"resources_per_worker": {"CPU": 2}},
    "placement": {"placement": "SPREAD"},
    "deepspeed": {"deepspeed": "zero3"},
    "offload": {"offload": "optimizer"},
    "nvme_path": {"offload": "optimizer", "nvme_path": "/nvme"},
    "max_failures": {"max_failures": 9},
    "checkpoint_every": {"checkpoint_every": 1},
    "tracking": {"tracking": []},
}


def key(changes: dict[str, object]) -> str:
    return train.key(train_config(**changes), "parent", "rows", 0)


def test_every_field_of_the_train_block_is_known_to_change_the_weights_or_not_to() -> None:
    assert set(CHANGES) | set(HARMLESS) == set(TrainConfig.model_fields)
    assert set(HARMLESS) == settings.NO_INFLUENCE


@pytest.mark.parametrize("field", CHANGES)
def test_key_changes_with_what_changes_the_weights(field: str) -> None:
    """Against the same block without this field: what the field needs may change the key by itself."""
    without = {name: value for name, value in CHANGES[field].items() if name != field}
    assert key(CHANGES[field]) != key(BEFORE.get(field, without))


@pytest.mark.parametrize("field", HARMLESS)
def test_key_ignores_what_does_not(field: str) -> None:
    assert key(HARMLESS[field]) == key({})


@pytest.mark.parametrize("weight", [0, None])
def test_key_of_a_training_without_the_likelihood_term_is_as_before_there_was_one(weight: float | None) -> None:
    assert key({"sft_weight": weight}) == key({})
    assert "sft_weight" not in settings.influence(train_config(sft_weight=weight), 0)


def test_weight_of_a_term_that_the_method_does_not_have_is_refused_with_its_field_and_rule() -> None:
    with pytest.raises(ValidationError, match=r"sft_weight: needs method: dpo \(got 0\.5\)"):
        train_config(method="cpo", sft_weight=0.5)
    with pytest.raises(ValidationError, match="sft_weight"):
        train_config(sft_weight=-1)


def test_key_knows_parent_rows_and_the_effective_seed() -> None:
    config = train_config()
    keys = {train.key(config, *given) for given in [("a", "b", 0), ("x", "b", 0), ("a", "x", 0), ("a", "b", 1)]}
    assert len(keys) == 4
    assert train.key(train_config(seed=1), "a", "b", 0) == train.key(train_config(seed=1), "a", "b", 7)


def test_key_follows_the_content_of_an_own_deepspeed_file(tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    file.write_text(json.dumps(deepspeed_config.read("zero2")))
    assert key({"deepspeed": str(file)}) == key({})
    file.write_text(json.dumps({"zero_optimization": {"stage": 3, "zero_quantized_gradients": True}}))
    assert key({"deepspeed": str(file)}) != key({})


def test_written_out_lora_defaults_have_the_key_of_no_lora_block() -> None:
    assert key({"tuning": "lora"}) == key({"tuning": "lora", "lora": {}})
