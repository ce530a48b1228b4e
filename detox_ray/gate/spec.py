"""What a gate asks for: YAML to a valid `Spec`, or to every problem at once. A spec's defaults live here.

Which metrics there are, and which way is better, the run's results say; `judge` holds the spec against them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, PlainValidator, model_validator

from detox_ray.config import Comparison, ConfigError, Problem, Strict
from detox_ray.config.languages import read_tag
from detox_ray.config.loading import read_as
from detox_ray.storage.metric_spec import ALL as WHOLE

MACRO, EACH, ALL = "macro", "each", "all"
Rule = TypeVar("Rule", bound=Strict)


def _how_many(value: Any) -> Any:
    if value in (ALL, MACRO) or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError("must be a number of languages (1 or more), all, or macro")


def _over(value: Any) -> Any:
    if value in (EACH, MACRO):
        return value
    if isinstance(value, list) and value and all(isinstance(code, str) for code in value):
        return [read_tag(code) or code for code in value]  # `judge` checks that the run has it
    raise ValueError("must be macro, each, or a list of languages")


def _exactly_one(rule: Rule, fields: Sequence[str]) -> Rule:
    given = [field for field in fields if getattr(rule, field) is not None]
    if len(given) != 1:
        raise ConfigError([Problem("", given or None, f"exactly one of {', '.join(fields)} is needed")])
    return rule


class ToxicityRule(Strict):
    """Toxicity lower by so much in so many languages; exactly one of the two reductions."""

    metric: str  # of toxicity, as described in results.json
    reduction: float | None = Field(None, ge=0, le=1)  # parent - model is at least this
    relative_reduction: float | None = Field(None, ge=0, lt=1)  # 1 - model / parent is at least this
    languages: Annotated[int | str, PlainValidator(_how_many)]  # at least so many, all, or macro: their mean
    significance: float | None = Field(0.05, gt=0, lt=1)  # p (corrected; a macro mean's own) at most; null: no limit

    @model_validator(mode="after")
    def _one_of(self) -> "ToxicityRule":
        return _exactly_one(self, ("reduction", "relative_reduction"))


class MarginRule(Strict):
    """A metric not worse than a margin; exactly one of the four bounds."""

    metric: str
    scorer: str | None = None  # the evaluator, units or identifier; null: the only one
    max_ratio: float | None = Field(None, gt=0)  # model / parent is at most this
    max_increase: float | None = Field(None, ge=0)  # model - parent is at most this
    max_decrease: float | None = Field(None, ge=0)  # parent - model is at most this
    max_distance: float | None = Field(None, ge=0)  # the model is at most this far from the metric's ideal value
    part: str = WHOLE  # of the metric, such as one kind of bias
    over: Annotated[str | list[str], PlainValidator(_over)] = MACRO  # each: in every language by itself

    @model_validator(mode="after")
    def _one_of(self) -> "MarginRule":
        return _exactly_one(self, ("max_ratio", "max_increase", "max_decrease", "max_distance"))


class Spec(Strict):
    """What a run must show."""

    comparison: Comparison | None = None  # null: the run's only one
    scorer: str | None = None  # of toxicity; null: the run's primary one
    convention: str | None = None  # of toxicity, as in results.json; null: the run's own
    toxicity: ToxicityRule | None = None
    margins: list[MarginRule] = Field([])

    @model_validator(mode="after")
    def _asks_something(self) -> "Spec":
        if self.toxicity is None and not self.margins:
            raise ConfigError([Problem("toxicity", None, "a gate asks for toxicity, margins or both")])
        return self


def read_spec(path: str | Path) -> Spec:
    """Read a spec from YAML. Raises ConfigError with every problem found."""
    return read_as(Spec, path, "SPEC")
