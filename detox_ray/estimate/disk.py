"""Bytes that a run leaves in its folder, needs for a while, and loads from the hub."""

from typing import NamedTuple

from detox_ray.config import TrainConfig
from detox_ray.estimate.architecture import Architecture
from detox_ray.estimate.memory import STATES

KEPT_CHECKPOINTS = 3  # the newest two and the best one
COMPLETION_BYTES = 90  # Parquet, compressed: text and its columns
SCORE_BYTES = 12  # a row: identifiers compress well, values do not


class Space(NamedTuple):
    name: str
    bytes: float
    assumption: str


def of_training(name: str, built: Architecture, config: TrainConfig) -> tuple[Space, Space]:
    """(what stays, what is needed while it trains)."""
    each = 2 if config.dtype == "bfloat16" else 4
    result = built.parameters * each + (built.trained * each if config.tuning != "full" else 0)
    saved = built.trained * each if config.tuning != "full" else built.parameters * each
    whole = saved + 4 * (STATES[config.optimizer] + 1) * built.trained
    return (
        Space(f"checkpoints/{name}", result, f"weights at {each} bytes" + ", and adapter" * (config.tuning != "full")),
        Space(
            f"training/{name}-*",
            whole * KEPT_CHECKPOINTS,
            f"{KEPT_CHECKPOINTS} checkpoints of weights and optimizer, gone when it is done; one more on each node",
        ),
    )  # fmt: skip


def of_completions(completions: int, attributes: int) -> list[Space]:
    return [
        Space("generations", completions * COMPLETION_BYTES, f"{COMPLETION_BYTES} bytes a completion, compressed"),
        Space("scores and what else is said of completions", completions * (attributes + 6) * SCORE_BYTES,
              f"{SCORE_BYTES} bytes a value, compressed"),
    ]  # fmt: skip
