"""The DeepSpeed configuration: settings that are refused, that are added, and that change the key."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from small_training import train_config

from detox_ray.config import InputError, Problem, TrainConfig
from detox_ray.train import deepspeed_config


@pytest.fixture
def own(tmp_path: Path) -> Any:
    """Writes a DeepSpeed JSON; its path."""

    def write(**content: Any) -> str:
        file = tmp_path / "own.json"
        file.write_text(json.dumps(content))
        return str(file)

    return write


def problems(**changes: object) -> list[Problem]:
    return deepspeed_config.problems("models.detox.train", train_config(**changes))


@pytest.mark.parametrize("name", deepspeed_config.BUILT_IN)
def test_built_in_files_are_sound_and_say_their_stage(name: str) -> None:
    assert problems(deepspeed=name) == []
    assert deepspeed_config.read(name)["zero_optimization"]["stage"] == int(name[-1])
    assert deepspeed_config.influence(deepspeed_config.read(name)) == {}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "zero0, zero1, zero2, zero3"),
        ("{", "not a readable JSON"),
        ("[]", "zero_optimization.stage"),
        ('{"zero_optimization": {"stage": 7}}', "zero_optimization.stage"),
        ('{"zero_optimization": {"stage": true}}', "zero_optimization.stage"),
        ('{"zero_optimization": {"stage": 2}, "optimizer": {"type": "Adam"}}', "must not set optimizer"),
        ('{"zero_optimization": {"stage": 2}, "gradient_clipping": 1.0}', "max_grad_norm"),
        ('{"zero_optimization": {"stage": 2}, "torch_autocast": {"enabled": true}}', "autocast"),
    ],
)
def test_unsound_file_is_refused_with_field_and_rule(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "own.json"
    if content is not None:
        file.write_text(content)
    (problem,) = problems(deepspeed=str(file))
    assert (problem.field, problem.value) == ("models.detox.train.deepspeed", str(file))
    assert said in problem.rule


def test_own_file_is_taken_and_completed(own: Any) -> None:
    offload = {"device": "cpu"}
    path = own(bf16={"enabled": "auto"}, zero_optimization={"stage": 3, "offload_optimizer": offload})
    assert problems(deepspeed=path) == []
    completed = deepspeed_config.config_for(train_config(deepspeed=path), gpu=False)
    assert completed["zero_optimization"]["offload_optimizer"] == offload
    assert completed["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True
    assert completed["zero_force_ds_cpu_optimizer"] is False


@pytest.mark.parametrize(
    ("offload", "stage", "parts"),
    [("optimizer", "zero1", {"offload_optimizer"}), ("parameters", "zero3", {"offload_optimizer", "offload_param"})],
)
def test_offload_adds_its_parts(offload: str, stage: str, parts: set[str]) -> None:
    config = train_config(offload=offload, deepspeed=stage)
    assert deepspeed_config.problems("f", config) == []
    found = {
        k: v
        for k, v in deepspeed_config.config_for(config, gpu=False)["zero_optimization"].items()
        if k.startswith("offload_")
    }
    assert set(found) == parts
    assert all(part == {"device": "cpu", "pin_memory": False} for part in found.values())


def test_offload_that_the_stage_does_not_have_is_refused(own: Any) -> None:
    (problem,) = problems(offload="optimizer", deepspeed="zero0")
    assert problem.field == "models.detox.train.offload"
    assert "optimizer needs ZeRO stage 1 or more, deepspeed says 0" in problem.rule
    (problem,) = problems(offload="parameters", deepspeed="zero2")
    assert "parameters needs ZeRO stage 3, deepspeed says 2" in problem.rule
    path = own(zero_optimization={"stage": 3, "offload_optimizer": {"device": "cpu"}})
    (problem,) = problems(offload="optimizer", deepspeed=path)
    assert "one place" in problem.rule


@pytest.mark.parametrize(
    "content",
    [
        {
            "zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}},
            "zero_force_ds_cpu_optimizer": True,
        },
        {"zero_optimization": {"stage": 3, "offload_optimizer": {"device": "cpu", "super_offload": True}}},
        {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}, "zenflow": {"topk_ratio": 0.1}}},
    ],
)
def test_optimizer_that_the_offload_does_not_support_is_named(own: Any, content: dict[str, Any]) -> None:
    (problem,) = problems(deepspeed=own(**content))
    assert problem.field == "models.detox.train.deepspeed"
    assert "DeepSpeed's own Adam only, not with rmsprop" in problem.rule


class TestNvme:
    config: ClassVar[dict[str, object]] = {"offload": "optimizer", "deepspeed": "zero3", "nvme_path": "/local_nvme"}

    def test_it_is_refused_with_what_is_missing(self, monkeypatch: pytest.MonkeyPatch, own: Any) -> None:
        monkeypatch.setattr(deepspeed_config, "missing_for_nvme", lambda: "libaio is not installed")
        (problem,) = problems(**self.config)
        assert (problem.field, problem.value) == ("models.detox.train.nvme_path", "/local_nvme")
        assert "libaio is not installed" in problem.rule
        path = own(zero_optimization={"stage": 3, "offload_param": {"device": "nvme", "nvme_path": "/local_nvme"}})
        (problem,) = problems(deepspeed=path)
        assert problem.field == "models.detox.train.deepspeed" and "libaio" in problem.rule
        with pytest.raises(InputError, match=r"^nvme_path: /local_nvme cannot be used on this worker's node"):
            deepspeed_config.config_for(train_config(**self.config), gpu=True)

    def test_it_reaches_deepspeed_where_it_can_be_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(deepspeed_config, "missing_for_nvme", lambda: None)
        config = train_config(**{**self.config, "offload": "parameters"})
        assert deepspeed_config.problems("f", config) == []
        filled = deepspeed_config.config_for(config, gpu=True)["zero_optimization"]
        expected = {"device": "nvme", "nvme_path": "/local_nvme", "pin_memory": True}
        assert filled["offload_optimizer"] == filled["offload_param"] == expected

    def test_it_needs_stage_3_and_an_absolute_path(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(deepspeed_config, "missing_for_nvme", lambda: None)
        found = {p.field: p.rule for p in problems(**{**self.config, "deepspeed": "zero2", "nvme_path": "nvme"})}
        assert "optimizer to NVMe needs ZeRO stage 3" in found["models.detox.train.offload"]
        assert "absolute" in found["models.detox.train.nvme_path"]


def test_deepspeed_takes_what_we_write() -> None:
    """Each setting is one that DeepSpeed's own model of the ZeRO block knows (it forbids unknown ones)."""
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    configs: list[TrainConfig] = [train_config(deepspeed=name) for name in deepspeed_config.BUILT_IN]
    configs += [
        train_config(deepspeed="zero3", offload="parameters"),
        train_config(deepspeed="zero1", offload="optimizer"),
    ]
    for config in configs:
        block = {
            name: value
            for name, value in deepspeed_config.config_for(config, False)["zero_optimization"].items()
            if value != "auto"
        }
        assert int(DeepSpeedZeroConfig(**block).stage) == block["stage"]
    known = {field.alias or name for name, field in DeepSpeedZeroConfig.model_fields.items()}
    assert known >= deepspeed_config._ZERO_MEMORY_ONLY


def test_influence_is_what_may_change_the_weights(own: Any) -> None:
    memory = own(zero_optimization={"stage": 3, "sub_group_size": 5, "offload_param": {"device": "cpu"}}, aio={"x": 1})
    assert deepspeed_config.influence(deepspeed_config.read(memory)) == {}
    quantised = own(zero_optimization={"stage": 3, "zero_quantized_weights": True}, communication_data_type="fp16")
    assert deepspeed_config.influence(deepspeed_config.read(quantised)) == {
        "zero_optimization": {"zero_quantized_weights": True},
        "communication_data_type": "fp16",
    }
