"""What markers of committed units say to other stages, beside what they keep for the manifest."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Marker(BaseModel):
    """What any marker may say. A stage states what others may read of its own markers in a subclass."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    rows: int = 0  # 0 if the unit is a folder
    amount: int = 0  # of the stage's measure: tokens, texts, …
    seconds: float = 0.0  # that making it took its worker
    status_counts: dict[str, int] = Field(default_factory=dict)  # status -> rows


class ScoreMarker(Marker):
    """Of a scorer's view of a unit of texts."""

    attributes: list[str]


class FluencyMarker(Marker):
    """Of an evaluator's view of a unit of completions."""

    kind: Literal["causal", "t5"]


class CheckpointMarker(Marker):
    """Of a trained model: how it learned."""

    method: str
    steps: int
    planned_steps: int
    stopped: Literal["planned", "early"]
    best_step: int | None  # None without validation
    kept_step: int
    log: list[dict[str, int | float]]
    validation: list[dict[str, int | float]]
    kl_to_parent: dict[str, str]  # status; and a reason if the divergence was not measured
