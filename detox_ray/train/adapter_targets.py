"""What differs between families of models when they are trained: which modules an adapter is put on, and attention.

A family is `model_type` in a model's config. One that is not listed trains as the others do; it only has no `li2024`.
Imported by workers only.
"""

from typing import Any, Literal

from torch import nn
from transformers.pytorch_utils import Conv1D

from detox_ray.config import InputError

_LLAMA = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "embed_tokens", "lm_head")
_BLOOM = ("word_embeddings", "query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")

# model_type -> what Li et al. 2024 put adapters on (docs/papers.md, "Training by Li et al."). Theirs are llama, cohere
# (Aya) and bloom; mistral, gemma2 and qwen3 have Llama's layout, hence its list; for GPT-2 (mGPT) theirs has none: its
# linear layers.
LI2024: dict[str, tuple[str, ...]] = {
    "llama": _LLAMA,
    "cohere": _LLAMA,
    "mistral": _LLAMA,
    "gemma2": _LLAMA,
    "qwen3": _LLAMA,
    "bloom": _BLOOM,
    "gpt2": ("c_attn", "c_proj", "c_fc"),
}
ADAPTABLE = (nn.Linear, nn.Embedding, Conv1D)


def targets(model: Any, chosen: str | list[str], field: str) -> list[str] | Literal["all-linear"]:
    """PEFT's target_modules for ``lora.target_modules`` (``field``) of a causal language model without adapter.

    A name stands for every module whose dotted name it is or ends (as PEFT has it). Where input embedding and head
    are one tensor, naming either means the embedding, whose adapter then serves both (head_adapter.py). Raises
    InputError where a name finds nothing that can carry an adapter, or the family has no `li2024`.
    """
    if chosen == "all-linear":
        return "all-linear"
    family = model.config.model_type
    if chosen == "li2024" and family not in LI2024:
        has = ", ".join(sorted(LI2024))
        raise InputError(f"{field}: li2024 names no modules for {family} (only for {has}): use all-linear or name them")
    adaptable = [name for name, module in model.named_modules() if isinstance(module, ADAPTABLE)]
    found = []
    for target in LI2024[family] if chosen == "li2024" else chosen:
        if not any(_matches(target, name) for name in adaptable):
            there = ", ".join(sorted({name.rpartition(".")[2] for name in adaptable}))
            raise InputError(f"{field}: {target!r} is no linear or embedding module of the model (there are {there})")
        if tied(model) and _matches(target, name_of(model, model.get_output_embeddings())):
            target = name_of(model, model.get_input_embeddings())
        found.append(target)
    return list(dict.fromkeys(found))


def _matches(target: str, name: str) -> bool:
    return name == target or name.endswith(f".{target}")


def tied(model: Any) -> bool:
    """Whether input embedding and head of a model without adapter are one tensor."""
    return model.get_input_embeddings().weight is model.get_output_embeddings().weight


def name_of(model: nn.Module, module: nn.Module) -> str:
    """The dotted name of ``module`` in ``model``."""
    return next(name for name, candidate in model.named_modules() if candidate is module)
