"""Calibration maps, one per language, from a scorer's values to those of a reference; and the file that holds them.

    isotonic   the non-decreasing function closest to the reference (Zadrozny and Elkan 2002), linear between its steps
               as in scikit-learn; follows any shape, and needs some hundreds of texts
    platt      sigmoid(slope * log(v / (1 - v)) + intercept), fitted to Platt's smoothed targets (Platt 1999); has two
               parameters; slope 1 with intercept 0 changes nothing

The file is JSON: {"version": 2, "scorer", "identity", "reference", "method", "languages": {code: {"n", "x", "y"} or
{"n", "slope", "intercept"}, each with "error_before" and "error_after"}, "refused": {code: why there is no map}}.

The module belongs to no stage, because one fits maps (`detox_ray.measure.calibration`) and another applies them.
"""

import json
from itertools import pairwise
from typing import Annotated, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Discriminator, Field, Tag, model_validator

from detox_ray.config import ConfigError, InputError, Strict
from detox_ray.config.loading import validated

Floats = NDArray[np.float64]
Method = Literal["isotonic", "platt"]
Share = Annotated[float, Field(ge=0, le=1)]

_EDGE = 1e-6  # values are kept this far from 0 and 1, where log(v / (1 - v)) is infinite


class _Map(Strict):
    n: int = Field(ge=1)  # number of texts that it was fitted to
    error_before: Share | None = None  # calibration error of the scorer's own values
    error_after: Share | None = None  # that of mapped values, cross-validated; null if all texts are in one cluster


class Isotonic(_Map):
    x: list[Share] = Field(min_length=1)  # rising
    y: list[Share] = Field(min_length=1)  # rising

    @model_validator(mode="after")
    def _rising_together(self) -> "Isotonic":
        rising = all(low <= high for side in (self.x, self.y) for low, high in pairwise(side))
        if len(self.x) != len(self.y) or not rising:
            raise ValueError("x and y must have the same length and must not decrease")
        return self

    def apply(self, values: Floats) -> Floats:
        return np.interp(values, self.x, self.y)


class Platt(_Map):
    slope: float = Field(gt=0)
    intercept: float

    def apply(self, values: Floats) -> Floats:
        return sigmoid(self.slope * log_odds(values) + self.intercept)


def _kind_of(value: Any) -> str:
    """Return which class of map a value of a file or an instance is."""
    return "platt" if isinstance(value, Platt) or (isinstance(value, dict) and "slope" in value) else "isotonic"


AnyMap = Annotated[
    Annotated[Isotonic, Tag("isotonic")] | Annotated[Platt, Tag("platt")],
    Discriminator(_kind_of),
]


class Calibration(Strict):
    """The maps of one scorer with one identity. A change of its weights, settings or code needs a new fit."""

    version: Literal[2] = 2
    scorer: str
    identity: str  # hash of everything that changes the scorer's values
    reference: str
    method: Method
    languages: dict[str, AnyMap]
    refused: dict[str, str] = Field(default_factory=dict)  # language -> why it has no map

    def apply(self, values: Floats, language: str) -> Floats:
        """Map values (N,) in [0, 1] to calibrated values (N,). Raises KeyError if the language has no map."""
        return self.languages[language].apply(np.asarray(values, dtype=np.float64))

    def check(self, scorer: str, identity: str) -> None:
        """Raise InputError unless the maps were fitted for this scorer with this identity."""
        for name, fitted, wanted in (("scorer", self.scorer, scorer), ("identity", self.identity, identity)):
            if fitted != wanted:
                raise InputError(f"the calibration was fitted for {name} {fitted!r}, not {wanted!r}: fit it again")

    def to_json(self) -> str:
        return self.model_dump_json(indent=1) + "\n"

    @classmethod
    def load(cls, text: str) -> "Calibration":
        """Read the JSON that `to_json` returns. Raise InputError with every wrong field and its rule."""
        try:
            return validated(cls, json.loads(text), "file")
        except ConfigError as error:
            wrong = [f"calibration {_without_kind(problem.field)}: {problem.rule}" for problem in error.problems]
            raise InputError("\n".join(wrong)) from None
        except ValueError as error:
            raise InputError(f"calibration file: is not JSON ({error})") from None


def _without_kind(field: str) -> str:
    """Return a field's path without the name of a map's class, which pydantic inserts."""
    return ".".join(part for part in field.split(".") if part not in get_args(Method))


def log_odds(values: Floats) -> Floats:
    """Return log(v / (1 - v)) of each value, which is finite for 0 and 1, too."""
    inside = np.clip(values, _EDGE, 1 - _EDGE)
    odds: Floats = np.log(inside / (1 - inside))
    return odds


def sigmoid(z: Floats) -> Floats:
    """Return 1 / (1 + exp(-z)), without overflow."""
    shares: Floats = np.exp(-np.logaddexp(0, -z))
    return shares
