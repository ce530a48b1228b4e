"""Adapters with embeddings of their own: added tokens, trained token rows, padded sizes; and those that do not fit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from detox_ray.config import InputError
from detox_ray.models import LoadableModel, resolve_path
from detox_ray.storage import Store
from detox_ray.train import checkpoint_import

ADDED = ["<u1>", "<u2>"]
TEXT = "Anna and Ben <u1> say"


def published(
    folder: Path, parent: LoadableModel, *, added: bool, pad_to: int | None = None, keep_embeddings: bool = True,
    **lora: Any,
) -> torch.Tensor:  # fmt: skip
    """Save an adapter as people publish it; the logits that it gives where it was trained."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(parent.location)
    tokenizer = AutoTokenizer.from_pretrained(parent.location)
    if added:
        tokenizer.add_tokens(ADDED)
        model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=pad_to)
        indices = lora.get("trainable_token_indices")
        if indices is not None:
            lora["trainable_token_indices"] = tokenizer.convert_tokens_to_ids(ADDED)
    chosen = {"r": 2, "target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM", **lora}
    adapted = get_peft_model(model, LoraConfig(**chosen))
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    adapted.save_pretrained(str(folder), save_embedding_layers=added and keep_embeddings)
    if added:
        tokenizer.save_pretrained(folder)
    with torch.no_grad():
        logits: torch.Tensor = adapted.eval()(**tokenizer(TEXT, return_tensors="pt")).logits
    return logits


def imported(source: Path, parent: LoadableModel, store: Store, tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    checkpoint_import.make(resolve_path("x", str(source), None, "auto"), parent, store, tmp_path / "work")
    return store.localize("checkpoints/x")


@pytest.mark.parametrize(
    "how",
    [
        {"added": True},
        {"added": True, "pad_to": 64},
        {"added": True, "modules_to_save": ["embed_tokens", "lm_head"]},
        {"added": True, "trainable_token_indices": []},
        {"added": True, "target_modules": ["q_proj", "embed_tokens"]},
        {"added": False, "target_modules": ["q_proj", "embed_tokens"]},
        {"added": False, "target_modules": ["q_proj", "lm_head"]},
        {"added": True, "use_dora": True},
        {"added": False, "modules_to_save": ["embed_tokens", "lm_head"]},
        {"added": False, "use_rslora": True, "rank_pattern": {"layers.0.self_attn.q_proj": 4}},
    ],
    ids=lambda how: " ".join(f"{name}={value}" for name, value in how.items()),
)
def test_an_adapter_with_its_own_embeddings_answers_as_where_it_was_trained(
    how: dict[str, Any], parent: LoadableModel, store: Store, tmp_path: Path
) -> None:
    expected = published(tmp_path / "adapter", parent, **how)
    folder = imported(tmp_path / "adapter", parent, store, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        found = AutoModelForCausalLM.from_pretrained(folder)(**tokenizer(TEXT, return_tensors="pt")).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    if how["added"]:
        ids = tokenizer.convert_tokens_to_ids(ADDED)
        assert ids == [len(tokenizer) - 2, len(tokenizer) - 1]
        assert not (folder / "adapter").exists(), "its parent's engine has not these embeddings"


def test_added_tokens_without_embeddings_make_rows_as_peft_does_and_always_the_same(
    parent: LoadableModel, store: Store, tmp_path: Path
) -> None:
    published(tmp_path / "adapter", parent, added=True, keep_embeddings=False)
    base = AutoModelForCausalLM.from_pretrained(parent.location)
    tokens, before = base.config.vocab_size + 2, base.config.vocab_size
    folders = []
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        again = Store.at(str(tmp_path / str(number) / "run"))
        folders.append(imported(tmp_path / "adapter", parent, again, tmp_path / str(number)))
    models = [AutoModelForCausalLM.from_pretrained(folder) for folder in folders]
    assert [model.config.vocab_size for model in models] == [tokens, tokens]
    given = AutoTokenizer.from_pretrained(parent.location)("Anna and Ben say", return_tensors="pt")
    with torch.no_grad():
        found = [model(**given).logits for model in models]
        expected = PeftModel.from_pretrained(base, str(tmp_path / "adapter"))(**given).logits
    torch.testing.assert_close(found[0][..., :before], expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(found[0], found[1])


def test_an_adapters_tokenizer_with_fewer_tokens_leaves_the_embeddings(
    parent: LoadableModel, store: Store, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    model = AutoModelForCausalLM.from_pretrained(parent.location)
    rows = model.config.vocab_size
    model.resize_token_embeddings(rows + 40)  # as many published models are padded
    model.save_pretrained(large)
    AutoTokenizer.from_pretrained(parent.location).save_pretrained(large)
    padded = resolve_path("base", str(large), None, "auto")
    expected = published(tmp_path / "adapter", padded, added=False)
    tokenizer = AutoTokenizer.from_pretrained(parent.location)
    tokenizer.chat_template = "{{ messages[0].content }}"
    tokenizer.save_pretrained(tmp_path / "adapter")
    folder = imported(tmp_path / "adapter", padded, store, tmp_path)
    made = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        found = AutoModelForCausalLM.from_pretrained(folder)(**made(TEXT, return_tensors="pt")).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert made.chat_template == tokenizer.chat_template


def test_an_adapter_of_another_model_is_refused_with_the_reason(
    parent: LoadableModel, store: Store, tmp_path: Path
) -> None:
    published(tmp_path / "adapter", parent, added=False)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file({n: torch.zeros(2, 80) if "q_proj.lora_A" in n else t for n, t in tensors.items()}, file)
    with pytest.raises(InputError, match=r"does not fit its parent base: size mismatch for .*q_proj"):
        imported(tmp_path / "adapter", parent, store, tmp_path)


def test_an_adapter_that_lacks_parts_is_refused(parent: LoadableModel, store: Store, tmp_path: Path) -> None:
    published(tmp_path / "adapter", parent, added=False)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({name: tensor for name, tensor in load_file(file).items() if "layers.1." not in name}, file)
    with pytest.raises(InputError, match="does not fit its parent base: Found missing adapter keys"):
        imported(tmp_path / "adapter", parent, store, tmp_path)


def test_an_adapter_with_another_models_tokenizer_is_refused(
    parent: LoadableModel, store: Store, tmp_path: Path
) -> None:
    published(tmp_path / "adapter", parent, added=True)
    file = tmp_path / "adapter" / "tokenizer.json"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"!": 1,', '"!": 2,').replace('"\\"": 2,', '"\\"": 1,'), encoding="utf-8")
    with pytest.raises(InputError, match="they do not belong together"):
        imported(tmp_path / "adapter", parent, store, tmp_path)
