"""A training leaves merged weights and an adapter that PEFT reads, and no broken result."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from test_tuning import IDS
from tiny_families import tiny
from transformers import AutoModelForCausalLM

from detox_ray.config import InputError
from detox_ray.train import adapter_merging, adapter_targets, model_export

FIELD = "models.detox.train.lora.target_modules"


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=IDS).logits
    return found


@pytest.fixture(params=["llama", "gemma2"])
def parent(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Untied, and tied."""
    tiny(request.param).save_pretrained(tmp_path / "parent")
    return tmp_path / "parent"


@pytest.fixture
def adapter(parent: Path, tmp_path: Path) -> Path:
    """Save an adapter as a trainer does: on the embedding, and on the head if that is another tensor."""
    model = AutoModelForCausalLM.from_pretrained(parent)
    peft = get_peft_model(model, LoraConfig(r=4, target_modules=adapter_targets.target_modules(model, "li2024", FIELD)))
    for name, parameter in peft.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter) * 0.1
    peft.save_pretrained(str(tmp_path / "adapter"))
    return tmp_path / "adapter"


def test_merged_weights_and_completed_adapter_give_the_same_logits(parent: Path, adapter: Path) -> None:
    merged = adapter_merging.merge(AutoModelForCausalLM.from_pretrained(parent), adapter)
    plain = AutoModelForCausalLM.from_pretrained(parent)
    before = logits(plain)
    torch.testing.assert_close(logits(merged), logits(PeftModel.from_pretrained(plain, adapter)), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(logits(merged), before, atol=1e-2)


def test_adapters_folder_holds_factors_only(parent: Path, adapter: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(parent)
    whole = sum(tensor.numel() for tensor in load_file(adapter / adapter_merging.WEIGHTS).values())
    adapter_merging.merge(model, adapter)
    tensors = load_file(adapter / adapter_merging.WEIGHTS)
    assert all(".lora_" in name for name in tensors)
    assert sum(tensor.numel() for tensor in tensors.values()) < whole - model.get_input_embeddings().weight.numel() / 2


@pytest.fixture
def tuned(parent: Path, tmp_path: Path) -> Path:
    """Return the parent with one weight changed."""
    shutil.copytree(parent, tmp_path / "tuned")
    return edit(tmp_path / "tuned", "model.norm.weight", lambda tensor: tensor + 1e-6)


def edit(folder: Path, name: str, change: Any) -> Path:
    tensors = load_file(folder / "model.safetensors")
    changed = change(tensors.pop(name))
    if changed is not None:
        tensors[name] = changed
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def before(parent: Path) -> dict[str, str]:
    return model_export.digests(AutoModelForCausalLM.from_pretrained(parent))


def test_smallest_change_of_one_weight_makes_a_result(parent: Path, tuned: Path) -> None:
    model_export.verify(tuned, torch.float32, before(parent))


def test_result_without_change_is_refused_with_what_to_look_at(parent: Path) -> None:
    with pytest.raises(InputError, match="training changed no weight: learning_rate is too small, or warmup_steps"):
        model_export.verify(parent, torch.float32, before(parent))


def test_result_that_is_no_number_is_refused_with_the_weights_name(parent: Path, tuned: Path) -> None:
    for bad in (torch.nan, torch.inf):
        edit(tuned, "model.layers.1.mlp.up_proj.weight", lambda tensor, bad=bad: tensor.fill_(bad))
        with pytest.raises(FloatingPointError, match=r"layers\.1\.mlp\.up_proj\.weight.*lower learning_rate"):
            model_export.verify(tuned, torch.float32, before(parent))


def test_result_that_lacks_a_weight_is_refused(parent: Path, tuned: Path) -> None:
    edit(tuned, "model.layers.0.mlp.up_proj.weight", lambda tensor: None)
    with pytest.raises(ValueError, match=r"missing_keys.*model\.layers\.0\.mlp\.up_proj\.weight"):
        model_export.verify(tuned, torch.float32, before(parent))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_digest_follows_single_bits(dtype: torch.dtype) -> None:
    layer = torch.nn.Linear(3, 3, dtype=dtype)
    first = model_export.digests(layer)
    assert first == model_export.digests(layer) and first.keys() == {"weight", "bias"}
    layer.weight.data[1, 1] = torch.nextafter(layer.weight.data[1, 1], torch.tensor(9.0, dtype=dtype))
    second = model_export.digests(layer)
    assert second["weight"] != first["weight"] and second["bias"] == first["bias"]
