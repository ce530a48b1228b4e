"""One tiny model with random weights for each family of models that the papers tune, and Qwen-3."""

from pathlib import Path
from typing import Any

from detox_ray.models import LoadableModel, resolve_path

FAMILIES = ("gpt2", "bloom", "llama", "cohere", "gemma2", "mistral", "qwen3")
TIED = {"gpt2", "bloom", "cohere", "gemma2"}  # as the papers' models are; Qwen-3's small ones are too, the large not

_LLAMA_LIKE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,  # vLLM's CPU attention takes multiples of 32
    "max_position_embeddings": 128,
    "initializer_range": 0.1,  # far from ties between tokens
}
_CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 128, "initializer_range": 0.1},
    "bloom": {"hidden_size": 64, "n_layer": 2, "n_head": 2, "initializer_range": 0.1},
    "llama": _LLAMA_LIKE,
    "cohere": {**_LLAMA_LIKE, "logit_scale": 0.5},
    # caps that bite
    "gemma2": {
        **_LLAMA_LIKE,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0,
        "query_pre_attn_scalar": 4,
    },
    "mistral": _LLAMA_LIKE,
    "qwen3": _LLAMA_LIKE,
}


def tiny(family: str, vocab_size: int = 400, eos: int = 0, **changes: Any) -> Any:
    """A causal language model of ``family``, always the same one."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    special = {"bos_token_id": eos, "eos_token_id": eos, "pad_token_id": None}
    settings = {
        "vocab_size": vocab_size,
        "tie_word_embeddings": family in TIED,
        **special,
        **_CONFIGS[family],
        **changes,
    }
    torch.manual_seed(FAMILIES.index(family))
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **settings))


def saved(family: str, folder: Path, tokenizer: Any) -> LoadableModel:
    """Save the same model as a folder."""
    tiny(family, len(tokenizer), tokenizer.eos_token_id).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return resolve_path("base", str(folder), None, "auto")
