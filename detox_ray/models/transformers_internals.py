"""The parts of transformers that are used beyond its public interface, as read in transformers 5.19.0."""

from typing import Any


def import_without_sklearn() -> None:
    """Import parts of transformers without scikit-learn and SciPy. Call this before importing a model class or vLLM.

    The two packages take 12 % of the time of importing vLLM (`python -X importtime`). transformers needs them only to
    adapt the threshold of assisted generation, which then stays fixed, and for the losses of object detection.
    """
    from transformers import utils

    sklearn, scipy = utils.is_sklearn_available, utils.is_scipy_available
    utils.is_sklearn_available = utils.is_scipy_available = lambda: False
    try:
        import transformers.generation.candidate_generator
        import transformers.loss.loss_utils  # noqa: F401
    finally:
        utils.is_sklearn_available, utils.is_scipy_available = sklearn, scipy


def attention_in_use(model: Any) -> str:
    """Return the name of the attention implementation that a model uses: "eager", "sdpa", …"""
    return str(model.config._attn_implementation)


def use_attention(model: Any, name: str) -> None:
    """Set a model's attention implementation without a check, because `set_attn_implementation` rejects some."""
    model.config._attn_implementation = name
