"""The train block: what is refused before anything starts, and what the key depends on."""

import json
from pathlib import Path

import pytest
from small_training import train_config

from detox_ray import train
from detox_ray.train import settings, zero


@pytest.mark.parametrize("name", zero.BUILT_IN)
def test_built_in_deepspeed_files_are_sound_and_say_their_stage(name: str) -> None:
    assert train.check("models.detox.train", train_config(deepspeed=name)) == []
    assert zero.read(name)["zero_optimization"]["stage"] == int(name[-1])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "zero1, zero2, zero3"),
        ("{", "not a readable JSON"),
        ("[]", "zero_optimization.stage"),
        ('{"zero_optimization": {"stage": 7}}', "zero_optimization.stage"),
        ('{"zero_optimization": {"stage": 2}, "optimizer": {"type": "Adam"}}', "must not set optimizer"),
        ('{"zero_optimization": {"stage": 2}, "gradient_clipping": 1.0}', "max_grad_norm"),
    ],
)
def test_unsound_deepspeed_file_is_refused_with_field_and_rule(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "own.json"
    if content is not None:
        file.write_text(content)
    (problem,) = train.check("models.detox.train", train_config(deepspeed=str(file)))
    assert problem.field == "models.detox.train.deepspeed"
    assert problem.value == str(file)
    assert said in problem.rule


def test_own_deepspeed_file_is_taken_and_completed(tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    offload = {"device": "cpu"}
    file.write_text(json.dumps({"bf16": {"enabled": "auto"},
                                "zero_optimization": {"stage": 3, "offload_optimizer": offload}}))  # fmt: skip
    assert train.check("f", train_config(deepspeed=str(file))) == []
    completed = zero.complete(zero.read(str(file)))
    assert completed["zero_optimization"]["offload_optimizer"] == offload
    assert completed["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True


@pytest.mark.parametrize(("gpu", "problems"), [(False, 1), (True, 0)])
def test_bfloat16_needs_a_gpu(monkeypatch: pytest.MonkeyPatch, gpu: bool, problems: int) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(settings, "_has_gpu", lambda: gpu)
    found = train.check("models.detox.train", train_config(dtype="bfloat16"))
    assert [p.field for p in found] == ["models.detox.train.dtype"] * problems


def test_adapter_on_the_output_layer_is_refused() -> None:
    found = train.check("f", train_config(tuning="lora", lora={"target_modules": ["q_proj", "lm_head"]}))
    assert [p.field for p in found] == ["f.lora.target_modules"]


CHANGES = {
    "beta": 0.2,
    "optimizer": "adamw",
    "learning_rate": 2e-3,
    "scheduler": "cosine",
    "warmup_steps": 3,
    "weight_decay": 0.1,
    "max_grad_norm": 1.0,
    "epochs": 2,
    "max_steps": 9,
    "batch_size": 2,
    "gradient_accumulation": 2,
    "max_length": 32,
    "gradient_checkpointing": True,
    "validation_fraction": 0.2,
    "dtype": "bfloat16",
    "workers": 1,
    "tuning": "lora",
    "trainable": ["mlp"],
    "deepspeed": "zero3",
    "seed": 5,
}


@pytest.mark.parametrize("field", CHANGES)
def test_key_changes_with_what_changes_the_weights(field: str) -> None:
    before = train.key(train_config(), "parent", "pairs", 0)
    assert train.key(train_config(**{field: CHANGES[field]}), "parent", "pairs", 0) != before


@pytest.mark.parametrize("change", [{"max_failures": 9}, {"checkpoint_every": 1}, {"resources_per_worker": {"CPU": 2}}])
def test_key_ignores_what_does_not(change: dict[str, object]) -> None:
    assert train.key(train_config(**change), "a", "b", 0) == train.key(train_config(), "a", "b", 0)


def test_key_knows_parent_pairs_and_the_effective_seed() -> None:
    config = train_config()
    keys = {train.key(config, *given) for given in [("a", "b", 0), ("x", "b", 0), ("a", "x", 0), ("a", "b", 1)]}
    assert len(keys) == 4
    assert train.key(train_config(seed=1), "a", "b", 0) == train.key(train_config(seed=1), "a", "b", 7)


def test_key_follows_the_content_of_an_own_deepspeed_file(tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    first.write_text(json.dumps(zero.read("zero2")))
    second.write_text(json.dumps(zero.read("zero1")))
    built_in = train.key(train_config(), "a", "b", 0)
    assert train.key(train_config(deepspeed=str(first)), "a", "b", 0) == built_in
    assert train.key(train_config(deepspeed=str(second)), "a", "b", 0) != built_in


def test_written_out_lora_defaults_have_the_key_of_no_lora_block() -> None:
    silent, spoken = train_config(tuning="lora"), train_config(tuning="lora", lora={})
    assert train.key(silent, "a", "b", 0) == train.key(spoken, "a", "b", 0)
    other = train_config(tuning="lora", lora={"r": 8})
    assert train.key(other, "a", "b", 0) != train.key(silent, "a", "b", 0)
