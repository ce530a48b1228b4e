"""The fields of committed units' markers that other stages read. Markers may hold more, for the manifest."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Marker(BaseModel):
    """The fields of any marker. A stage defines a subclass with the further fields that other stages may read."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    rows: int = 0  # 0 if the unit is a folder
    amount: int = 0  # in what the stage counts: tokens, texts, …
    seconds: float = 0.0  # time that the worker needed for the unit
    status_counts: dict[str, int] = Field(default_factory=dict)  # status -> rows


class ScoreMarker(Marker):
    """The marker of a unit of scores."""

    attributes: list[str]


class FluencyMarker(Marker):
    """The marker of a unit of fluencies."""

    kind: Literal["causal", "t5"]


class CheckpointMarker(Marker):
    """The marker of a trained model: how its training went."""

    method: str
    steps: int
    planned_steps: int
    stopped: Literal["planned", "early"]
    best_step: int | None  # None without validation
    kept_step: int
    log: list[dict[str, int | float]]
    validation: list[dict[str, int | float]]
    kl_to_parent: dict[str, str]  # "status", and "reason" if the divergence was not measured
