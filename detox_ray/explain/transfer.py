"""The fall in toxicity that tuning causes in a language: the targets of the predictors of transfer.

The sign of a correlation can depend on the target: a relative fall depends on the level before tuning, a fall in
log-odds does not. There are therefore three targets, and none of them is preferred.

Shapes: P prompts, R resamples of prompts.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detox_ray.measure.resampling import Resampling, weights

Floats = NDArray[np.float64]
Target = Literal["relative", "log-ratio", "log-odds"]
TARGETS: tuple[Target, ...] = ("relative", "log-ratio", "log-odds")


class Fall(NamedTuple):
    """The fall in one language, by one target."""

    value: float  # NaN if it is not defined
    draws: Floats  # (R,), the fall in resamples of prompts
    before: float  # the parent's mean toxicity
    bounded: bool  # whether a logarithm is only finite by the half completion: nothing, or everything, is toxic


def falls(
    before_P: Floats, after_P: Floats, completions: int, language: str, resampling: Resampling
) -> dict[Target, Fall]:
    """Return the fall by each target; a larger value means a larger fall.

    Args:
        before_P: mean toxicity of each prompt's completions by the parent.
        after_P: mean toxicity of the tuned model's completions, in the same order of prompts.
        completions: number of completions of all prompts together, for each model.
        language: the language's name, which is part of the resamples' seed.
        resampling: how prompts are resampled.
    """
    draws = [block @ np.stack([before_P, after_P], axis=1) for block in weights(len(before_P), language, resampling)]
    means_R2 = np.concatenate(draws) / len(before_P)
    before, after = float(before_P.mean()), float(after_P.mean())
    half = 0.5 / completions
    bounded: dict[Target, bool] = {
        "relative": False,
        "log-ratio": min(before, after) < half,
        "log-odds": min(before, after) < half or max(before, after) > 1 - half,
    }
    return {
        name: Fall(float(_target(name, np.array(before), np.array(after), completions)), drawn, before, bounded[name])
        for name in TARGETS
        for drawn in [_target(name, means_R2[:, 0], means_R2[:, 1], completions)]
    }


def _target(name: Target, before: Floats, after: Floats, completions: int) -> Floats:
    """Return the fall by one target.

    Half a completion is added so that logarithms of shares of 0 and 1 are finite, as for empirical log-odds.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        if name == "relative":
            return np.where(before > 0, (before - after) / before, np.nan)
        half = 0.5 / completions
        a, b = np.clip(before, half, 1 - half), np.clip(after, half, 1 - half)
        return np.log(a / b) if name == "log-ratio" else np.log(a / (1 - a)) - np.log(b / (1 - b))
