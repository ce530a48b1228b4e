"""Merging of an adapter into its parent's weights. The adapter is also kept, as a folder that PEFT can load.

Only workers import this module.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from detox_ray.config import InputError
from detox_ray.models import layout

WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."  # PEFT puts this before the model's names of tensors


def merge(base: Any, adapter: Path) -> Any:
    """Add the products of the adapter's factors to the weights of ``base``, in place, and return it.

    PEFT unpacks 4-bit weights, adds the product, and rounds to 4 bits again; the result is unpacked. If necessary, the
    adapter's folder is changed so that PEFT can load it.

    Args:
        base: The causal language model on which the adapter was trained.
        adapter: The adapter's folder.
    """
    if rows_in(base, adapter) in (None, base.get_input_embeddings().weight.shape[0]):
        _keep_factors(adapter)
    shared = layout.ends_are_tied(base)  # one tensor with one adapter, the embedding's, which is added once
    names = layout.end_names(base)
    with warnings.catch_warnings():  # about tied weights and about rounding to 4 bits, which are intended
        warnings.simplefilter("ignore")
        warnings.filterwarnings(
            "error", message="Found missing adapter keys"
        )  # missing factors would keep their initial values
        model = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()
    if shared:
        _repeat_at_head(adapter, *names)
    return model.dequantize() if getattr(model, "is_loaded_in_4bit", False) else model


def resize(base: Any, adapter: Path, tokens: int) -> bool:
    """Resize the embeddings of ``base`` to the size with which the adapter was trained.

    If the adapter contains embeddings or a head, or factors of them, their size counts, which trainers may have padded.
    Otherwise embeddings grow to the ``tokens`` tokens of the adapter's tokenizer, as in PEFT.

    Returns:
        Whether the size has changed.

    Raises:
        InputError: If embeddings and head have different sizes, or fewer rows than the tokenizer has tokens.
    """
    before = base.get_input_embeddings().weight.shape[0]
    held = rows_in(base, adapter)
    rows = held or max(before, tokens)
    if rows < min(tokens, before) or (held is not None and before < tokens and rows < tokens):
        raise InputError(f"the adapter holds embeddings of {rows:,} tokens, and its tokenizer has {tokens:,}")
    if rows == before:
        return False
    torch.manual_seed(0)  # rows that the adapter does not contain are drawn close to the mean of the others
    base.resize_token_embeddings(rows)
    return True


def untie(base: Any, adapter: Path) -> None:
    """Untie the head from the embedding if the adapter has factors for either.

    PEFT trains such factors for one of the two, or separate ones for each. Merged into the shared tensor, they would
    change both.
    """
    if not layout.ends_are_tied(base):
        return
    with safe_open(adapter / WEIGHTS, "pt") as file:
        keys = list(file.keys())
    names = layout.end_names(base)
    if any(key.removeprefix(_PREFIX).startswith(f"{name}.lora_") for key in keys for name in names):
        head = base.get_output_embeddings()
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
        base.config.tie_word_embeddings = False


def rows_in(base: Any, adapter: Path) -> int | None:
    """Return the number of tokens for which the adapter contains embeddings or a head; None if it contains neither."""
    sizes = set()
    names = layout.end_names(base)
    with safe_open(adapter / WEIGHTS, "pt") as file:
        for key in file.keys():  # noqa: SIM118 (not a mapping)
            module, _, tensor = key.removeprefix(_PREFIX).rpartition(".")
            if tensor == "lora_embedding_A" and module in names:
                sizes.add(file.get_slice(key).get_shape()[1])
            owner = module.removesuffix(".base_layer").removesuffix(".lora_B")
            if tensor == "weight" and owner in names:
                sizes.add(file.get_slice(key).get_shape()[0])
    if len(sizes) > 1:
        raise InputError(f"the adapter holds embeddings and a head of different sizes: {sorted(sizes)}")
    return next(iter(sizes), None)


def _keep_factors(adapter: Path) -> None:
    """Remove the base weights of embedding adapters from the folder. PEFT saves them, but they are the parent's."""
    tensors = load_file(adapter / WEIGHTS)
    save_file({name: tensor for name, tensor in tensors.items() if ".base_layer." not in name}, adapter / WEIGHTS)


def _repeat_at_head(adapter: Path, embedding: str, head: str) -> None:
    """Copy a tied embedding's adapter as the head's, because PEFT loads the two as separate modules."""
    tensors = load_file(adapter / WEIGHTS)
    below = f"{_PREFIX}{embedding}.lora_embedding_"
    if f"{below}A" not in tensors:
        return
    tensors[f"{_PREFIX}{head}.lora_A.weight"] = tensors[f"{below}B"].T.contiguous()
    tensors[f"{_PREFIX}{head}.lora_B.weight"] = tensors[f"{below}A"].T.contiguous()
    save_file(tensors, adapter / WEIGHTS)
    config = LoraConfig.from_pretrained(str(adapter))
    config.target_modules = sorted({*config.target_modules, head})
    config.save_pretrained(str(adapter))
