"""What is used of transformers beyond its public interface, as read in transformers 5.19.0."""

from typing import Any


def attention_in_use(model: Any) -> str:
    """Return the name of the attention that a model computes with: "eager", "sdpa", …"""
    return str(model.config._attn_implementation)


def use_attention(model: Any, name: str) -> None:
    """Let a model compute with the attention of this name, unchecked: `set_attn_implementation` refuses some."""
    model.config._attn_implementation = name
