"""Published checkpoints: an adapter, and weights without a tokenizer, made whole with their parent's help."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from detox_ray import models
from detox_ray.config import InputError
from detox_ray.models import LoadableModel, resolve_path
from detox_ray.models.resolve import UNMERGEABLE
from detox_ray.storage import Store
from detox_ray.train import checkpoint_import


@pytest.fixture
def adapter(tmp_path: Path, parent: LoadableModel) -> Path:
    """An adapter on the parent that does something."""
    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(parent.location)
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    folder = tmp_path / "adapter"
    model.save_pretrained(str(folder))
    return folder


def made(source: Path, parent: LoadableModel, store: Store, tmp_path: Path) -> tuple[Path, dict[str, object]]:
    assert models.check("models.x.path", str(source), "base") == []
    model = resolve_path("x", str(source), None, "auto")
    assert not models.alone(model)
    (tmp_path / "work").mkdir()
    info = checkpoint_import.make(model, parent, store, tmp_path / "work")
    return store.localize("checkpoints/x"), info


def test_an_adapter_becomes_a_model_that_answers_as_peft_does(
    adapter: Path, parent: LoadableModel, store: Store, tmp_path: Path
) -> None:
    folder, info = made(adapter, parent, store, tmp_path)
    given = AutoTokenizer.from_pretrained(folder)("Anna and Ben say", return_tensors="pt")
    base = AutoModelForCausalLM.from_pretrained(parent.location)
    with torch.no_grad():
        plain = base(**given).logits
        whole = AutoModelForCausalLM.from_pretrained(folder)(**given).logits
        expected = PeftModel.from_pretrained(base, str(adapter))(**given).logits
    torch.testing.assert_close(whole, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(whole, plain, atol=1e-3)
    assert info["kind"] == "adapter"
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    assert models.check("models.y.path", str(folder)) == []


def test_weights_without_a_tokenizer_take_their_parents(parent: LoadableModel, store: Store, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(Path(parent.location) / name, bare)
    folder, info = made(bare, parent, store, tmp_path)
    assert info["kind"] == "weights without a tokenizer"
    tokenizers = [AutoTokenizer.from_pretrained(path) for path in (folder, parent.location)]
    assert tokenizers[0].get_vocab() == tokenizers[1].get_vocab()
    assert (folder / "model.safetensors").read_bytes() == (bare / "model.safetensors").read_bytes()


def test_a_checkpoint_of_another_vocabulary_is_refused(parent: LoadableModel, store: Store, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    config = AutoModelForCausalLM.from_pretrained(parent.location).config
    config.vocab_size = 50
    AutoModelForCausalLM.from_config(config).save_pretrained(bare)
    with pytest.raises(InputError, match="50 entries and the tokenizer of its parent base 3"):
        made(bare, parent, store, tmp_path)


def test_an_adapter_needs_a_parent_and_safetensors(
    adapter: Path, parent: LoadableModel, store: Store, tmp_path: Path
) -> None:
    [problem] = models.check("models.x.path", str(adapter))
    assert "name the model that it was trained on as `parent`" in problem.rule
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    [problem] = models.check("models.x.path", str(adapter), "base")
    assert "pickled" in problem.rule


def test_the_key_follows_both(adapter: Path, parent: LoadableModel) -> None:
    source = resolve_path("x", str(adapter), None, "auto")
    key = checkpoint_import.import_key(source, parent)
    assert key != checkpoint_import.import_key(source._replace(key="other"), parent)
    assert key != checkpoint_import.import_key(source, parent._replace(key="other"))


@pytest.mark.parametrize(
    ("config", "value", "rule"),
    [
        ({"peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM"}, "PROMPT_TUNING", "cannot be merged"),
        ({"peft_type": "LORA", "alora_invocation_tokens": [3]}, "aLoRA", "cannot be merged"),
        ({"peft_type": "LORA", "task_type": "SEQ_CLS"}, "SEQ_CLS", "task_type must be CAUSAL_LM"),
        ({"r": 2}, "adapter_config.json", "no peft_type"),
        ([], "adapter_config.json", "a JSON object"),
    ],
)
def test_an_adapter_that_cannot_be_merged_is_refused_when_the_config_is_read(
    config: object, value: str, rule: str, tmp_path: Path
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    [problem] = models.check("models.x.path", str(tmp_path), "base")
    assert (problem.value, rule in problem.rule) == (value, True)


def test_kinds_that_peft_cannot_merge_are_all_known() -> None:
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING as TUNERS

    without = {kind.value for kind, tuner in TUNERS.items() if not hasattr(tuner, "merge_and_unload")}
    assert without <= set(UNMERGEABLE)
