"""Which adapters a parent's engine serves; our tables against vLLM's own."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import save_file

from detox_ray.models import LoadableModel
from detox_ray.models.families import FAMILIES
from detox_ray.serve import adapter_sharing as sharing
from detox_ray.storage import Store

PLAIN = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "bias": "none", "target_modules": ["q_proj", "down_proj"]}
LAYER = "base_model.model.model.layers.0"
TENSORS = [f"{LAYER}.{module}.lora_{side}.weight" for module in ("self_attn.q_proj", "mlp.down_proj") for side in "AB"]
PARENT = LoadableModel("base", "hub/base", False, None, "auto", "k")
TUNED = LoadableModel("tuned", "checkpoints/tuned", True, None, "auto", "k")


def adapter(
    folder: Path,
    config: dict[str, Any] | None = None,
    tensors: list[str] = TENSORS,
    architecture: str = "LlamaForCausalLM",
) -> Store:
    """A run with one tuned model and its adapter."""
    store = Store(str(folder))
    store.write_bytes("checkpoints/tuned/config.json", json.dumps({"architectures": [architecture]}).encode())
    store.write_bytes("checkpoints/tuned/adapter/adapter_config.json", json.dumps({**PLAIN, **(config or {})}).encode())
    save_file(
        {name: torch.zeros(1) for name in tensors}, folder / "checkpoints/tuned/adapter/adapter_model.safetensors"
    )
    return store


def test_plain_adapter_is_shared(tmp_path: Path) -> None:
    assert sharing.shared_adapter(TUNED, PARENT, adapter(tmp_path)) == ("checkpoints/tuned/adapter", 8)


@pytest.mark.parametrize(("rank", "started_for"), [(1, 1), (2, 8), (4, 8), (12, 16), (64, 64), (200, 256), (512, 512)])
def test_rank_is_rounded_up_to_one_that_vllm_has(tmp_path: Path, rank: int, started_for: int) -> None:
    found = sharing.shared_adapter(TUNED, PARENT, adapter(tmp_path, {"r": rank}))
    assert found is not None and found.rank == started_for


def test_rank_of_single_layers_counts(tmp_path: Path) -> None:
    found = sharing.shared_adapter(TUNED, PARENT, adapter(tmp_path, {"rank_pattern": {"q_proj": 40}}))
    assert found is not None and found.rank == 64


@pytest.mark.parametrize(
    "config",
    [
        {"use_dora": True},
        {"lora_bias": True},
        {"bias": "all"},
        {"modules_to_save": ["lm_head"]},
        {"trainable_token_indices": [3]},
        {"init_lora_weights": "pissa"},
        {"r": 513},
        {"peft_type": "IA3"},
    ],
    ids=str,
)
def test_what_vllm_would_refuse_or_leave_out_is_not_shared(tmp_path: Path, config: dict[str, Any]) -> None:
    assert sharing.shared_adapter(TUNED, PARENT, adapter(tmp_path, config)) is None


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.lm_head.lora_A.weight",
        "base_model.model.model.embed_tokens.lora_embedding_A",
        "base_model.model.lm_head.weight",
        f"{LAYER}.self_attn.q_proj.lora_magnitude_vector",
        f"{LAYER}.self_attn.q_proj.lora_B.bias",
        "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight",
    ],
)
def test_adapter_with_a_tensor_that_vllm_does_not_map_is_not_shared(tmp_path: Path, name: str) -> None:
    assert sharing.shared_adapter(TUNED, PARENT, adapter(tmp_path, tensors=[*TENSORS, name])) is None


@pytest.mark.parametrize("architecture", ["GPT2LMHeadModel", "BloomForCausalLM", "SomethingNewForCausalLM"])
def test_architecture_without_lora_in_vllm_is_not_shared(tmp_path: Path, architecture: str) -> None:
    assert sharing.shared_adapter(TUNED, PARENT, adapter(tmp_path, architecture=architecture)) is None


def test_model_without_adapter_or_in_another_precision_is_not_shared(tmp_path: Path) -> None:
    store = adapter(tmp_path)
    assert sharing.shared_adapter(TUNED._replace(location="checkpoints/full"), PARENT, store) is None
    assert sharing.shared_adapter(TUNED._replace(in_store=False), PARENT, store) is None
    assert sharing.shared_adapter(TUNED._replace(dtype="bfloat16"), PARENT, store) is None


@pytest.mark.integration
def test_tables_are_those_of_the_installed_vllm() -> None:
    from vllm.config.lora import MaxLoRARanks
    from vllm.model_executor.models import ModelRegistry
    from vllm.model_executor.models.interfaces import supports_lora

    assert get_args(MaxLoRARanks) == sharing.RANKS
    for architecture in (family.vllm_class for family in FAMILIES.values() if family.vllm_class):
        model = ModelRegistry.models[architecture].load_model_cls()
        assert supports_lora(model), architecture
        packed = {name: set(parts) for name, parts in model.packed_modules_mapping.items()}
        assert packed["qkv_proj"] == {"q_proj", "k_proj", "v_proj"}, architecture
        assert packed["gate_up_proj"] == {"gate_proj", "up_proj"}, architecture
    for without in ("GPT2LMHeadModel", "BloomForCausalLM"):
        assert not supports_lora(ModelRegistry.models[without].load_model_cls()), without


@pytest.mark.integration
def test_refused_options_are_those_that_vllm_refuses() -> None:
    from vllm.lora.peft_helper import PEFTHelper

    refused: dict[str, Any] = {
        "use_dora": True,
        "lora_bias": True,
        "modules_to_save": ["lm_head"],
        "alora_invocation_tokens": [1],
        "layer_replication": [[0, 1]],
        "use_bdlora": {"x": 1},
        "use_qalora": True,
        "init_lora_weights": "olora",
    }
    for option, value in refused.items():
        assert PEFTHelper.from_dict({**PLAIN, option: value})._validate_features(), option
        assert not sharing.is_plain_lora({**PLAIN, option: value}), option
    for start in (True, False, *sharing._INITIALISATIONS):
        assert not PEFTHelper.from_dict({**PLAIN, "init_lora_weights": start})._validate_features()
        assert sharing.is_plain_lora({**PLAIN, "init_lora_weights": start})
