"""Disk space that a run takes: what stays in its folder, what is temporary, and what is loaded from the hub."""

from typing import NamedTuple

from detox_ray.config import TrainConfig
from detox_ray.estimate.architecture import Architecture
from detox_ray.estimate.training_memory import STATES

KEPT_CHECKPOINTS = 3  # the newest two and the best one
COMPLETION_BYTES = 90  # Parquet, compressed: text and its columns
SCORE_BYTES = 12  # a row: identifiers compress well, values do not


class Space(NamedTuple):
    """Disk space of one kind of file."""

    name: str
    bytes: float
    assumption: str


def training_space(name: str, built: Architecture, config: TrainConfig) -> tuple[Space, Space]:
    """Return the space of the trained model, and of the checkpoints during training."""
    width = 2 if config.dtype == "bfloat16" else 4
    adapter = config.tuning != "full"
    result = built.parameters * width + (built.trained * width if adapter else 0)
    saved = built.trained * width if adapter else built.parameters * width
    checkpoint = saved + 4 * (STATES[config.optimizer] + 1) * built.trained
    return (
        Space(f"checkpoints/{name}", result, f"weights at {width} bytes" + (", and adapter" if adapter else "")),
        Space(
            f"training/{name}-*",
            checkpoint * KEPT_CHECKPOINTS,
            f"{KEPT_CHECKPOINTS} checkpoints of weights and optimizer, deleted at its end; up to two more on the nodes",
        ),
    )


def completion_space(completions: int, attributes: int) -> list[Space]:
    """Return the space of completions and of all values measured on them."""
    values = completions * (attributes + 6)
    return [
        Space("generations", completions * COMPLETION_BYTES, f"{COMPLETION_BYTES} bytes a completion, compressed"),
        Space("measurements of completions", values * SCORE_BYTES, f"{SCORE_BYTES} bytes a value, compressed"),
    ]
