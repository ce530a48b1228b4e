"""Maps, one per language, from a scorer's values to a reference's: what they are, and their file.

    isotonic   the rising function nearest to the reference (Zadrozny and Elkan 2002), straight lines between its steps
               as scikit-learn draws them; bends as the data say, and wants some hundreds of texts
    platt      sigmoid(slope * log(v / (1 - v)) + intercept), fitted to Platt's smoothed targets (Platt 1999); two
               numbers, and slope 1 with intercept 0 is no change

The file is JSON: {"version": 2, "scorer", "identity", "reference", "method", "languages": {code: {"n", "x", "y"} or
{"n", "slope", "intercept"}, each with "error_before" and "error_after"}, "refused": {code: why there is no map}}.

This stands below the stages: one fits maps (`detox_ray.measure.calibration`), another applies them.
"""

from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from detox_ray.config import InputError, Strict

Floats = NDArray[np.float64]
Method = Literal["isotonic", "platt"]
Share = Annotated[float, Field(ge=0, le=1)]

_EDGE = 1e-6  # values are kept this far from 0 and 1, where log(v / (1 - v)) is infinite


class _Map(Strict):
    n: int = Field(ge=1)  # texts it was fitted to
    error_before: Share | None = None  # calibration error of the values as they are
    error_after: Share | None = None  # and of mapped values, cross-validated; null where all texts are of one cluster


class Isotonic(_Map):
    x: list[Share] = Field(min_length=1)  # rising
    y: list[Share] = Field(min_length=1)  # rising

    @model_validator(mode="after")
    def _rising_together(self) -> "Isotonic":
        rising = all(low <= high for side in (self.x, self.y) for low, high in pairwise(side))
        if len(self.x) != len(self.y) or not rising:
            raise ValueError("x and y must be of one length, and rise")
        return self

    def apply(self, values: Floats) -> Floats:
        return np.interp(values, self.x, self.y)


class Platt(_Map):
    slope: float = Field(gt=0)
    intercept: float

    def apply(self, values: Floats) -> Floats:
        return sigmoid(self.slope * log_odds(values) + self.intercept)


class Calibration(Strict):
    """The maps of one scorer as it is: a fit of other scores, by other weights, settings or code, is another's."""

    version: Literal[2] = 2
    scorer: str
    identity: str  # the scorer's, which changes with whatever changes a value
    reference: str
    method: Method
    languages: dict[str, Isotonic | Platt]
    refused: dict[str, str] = Field(default_factory=dict)  # language -> why it has no map

    def apply(self, values: Floats, language: str) -> Floats:
        """(N,) values in [0, 1] -> (N,). Raises KeyError for a language without a map."""
        return self.languages[language].apply(np.asarray(values, dtype=np.float64))

    def check(self, scorer: str, identity: str) -> None:
        """Raise InputError unless the maps are of this scorer with this identity."""
        for name, own, wanted in (("scorer", self.scorer, scorer), ("identity", self.identity, identity)):
            if own != wanted:
                raise InputError(f"the calibration was fitted for {name} {own!r}, not {wanted!r}: fit it again")

    def to_json(self) -> str:
        return self.model_dump_json(indent=1) + "\n"

    @classmethod
    def load(cls, text: str) -> "Calibration":
        """From what `to_json` gave. Raises InputError saying what is wrong where."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            wrong = [f"{'.'.join(map(str, problem['loc'])) or 'file'}: {problem['msg']}" for problem in error.errors()]
            raise InputError("\n".join(f"calibration {line}" for line in wrong)) from None


def log_odds(values: Floats) -> Floats:
    """log(v / (1 - v)), finite for 0 and 1 too."""
    inside = np.clip(values, _EDGE, 1 - _EDGE)
    made: Floats = np.log(inside / (1 - inside))
    return made


def sigmoid(z: Floats) -> Floats:
    """1 / (1 + exp(-z)), without overflow."""
    made: Floats = np.exp(-np.logaddexp(0, -z))
    return made
