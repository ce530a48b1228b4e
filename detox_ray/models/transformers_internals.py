"""The parts of transformers that are used beyond its public interface, as read in transformers 5.19.0."""

from typing import Any


def import_without_sklearn(trainer: bool = False) -> None:
    """Import parts of transformers without scikit-learn and SciPy.

    Call it before an Auto class, a model class or vLLM is imported.

    The two packages are a tenth of the time of importing vLLM or the trainer (12 and 11 % by `python -X importtime`).
    transformers needs them to adapt the threshold of assisted generation, which it then leaves as it is, for the
    losses of object detection, and for the metrics of GLUE, which then refuse to compute.

    Args:
        trainer: Whether the process imports `transformers.Trainer`, too.
    """
    from transformers import utils

    sklearn, scipy = utils.is_sklearn_available, utils.is_scipy_available
    utils.is_sklearn_available = utils.is_scipy_available = lambda: False
    try:
        import transformers.generation.candidate_generator
        import transformers.loss.loss_utils

        if trainer:
            import transformers.data.metrics  # noqa: F401
    finally:
        utils.is_sklearn_available, utils.is_scipy_available = sklearn, scipy


def attention_in_use(model: Any) -> str:
    """Return the name of the attention implementation that a model uses: "eager", "sdpa", …"""
    return str(model.config._attn_implementation)


def use_attention(model: Any, name: str) -> None:
    """Set a model's attention implementation without a check, because `set_attn_implementation` rejects some."""
    model.config._attn_implementation = name
