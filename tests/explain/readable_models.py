"""Tiny random models of the seven families, ready to be read."""

from pathlib import Path
from typing import Any

from tiny_families import FAMILIES, saved, tiny
from tiny_tokenizers import FORMS, tokenizer

from detox_ray.models.causal_model import CausalModel
from detox_ray.models.families import attention_implementation

__all__ = ["FAMILIES", "causal_model", "tiny_model"]


def tiny_model(family: str, **changes: Any) -> Any:
    """A model as `CausalModel` would load it."""
    model = tiny(family, **changes).eval()
    if attention := attention_implementation(model.config):
        model.set_attn_implementation(attention)
    return model


def causal_model(family: str, folder: Path) -> CausalModel:
    """A model with a tokenizer and a codec."""
    model = saved(family, folder, tokenizer(FORMS["eos, which is bos"]))
    return CausalModel(str(folder), model.loading(), "auto")
