"""How much of a language's toxicity tuning took away: the targets that predictors of transfer are held against.

The sign of a correlation can depend on the target: a relative fall depends on the level before, a fall of log-odds does
not. So there are three, and none of them is the headline.

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
    """One target in one language."""

    value: float  # nan if it is not defined
    draws: Floats  # (R,) in resamples of prompts
    before: float  # the parent's mean toxicity


def falls(
    before_P: Floats, after_P: Floats, completions: int, language: str, resampling: Resampling
) -> dict[Target, Fall]:
    """Return all targets, each larger the more toxicity fell.

    Args:
        before_P: mean toxicity of each prompt's completions by the parent.
        after_P: the same by the tuned model, in the same order.
        completions: of all prompts together, by each model.
        language: a language's name, on which the resamples depend.
        resampling: how prompts are resampled.
    """
    draws = [block @ np.stack([before_P, after_P], axis=1) for block in weights(len(before_P), language, resampling)]
    means_R2 = np.concatenate(draws) / len(before_P)
    before, after = float(before_P.mean()), float(after_P.mean())
    return {
        name: Fall(float(_target(name, np.array(before), np.array(after), completions)), drawn, before)
        for name in TARGETS
        for drawn in [_target(name, means_R2[:, 0], means_R2[:, 1], completions)]
    }


def _target(name: Target, before: Floats, after: Floats, completions: int) -> Floats:
    """Return a target. Logarithms of 0 and 1 are kept finite by half a completion, as for empirical log-odds."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if name == "relative":
            return np.where(before > 0, (before - after) / before, np.nan)
        half = 0.5 / completions
        a, b = np.clip(before, half, 1 - half), np.clip(after, half, 1 - half)
        return np.log(a / b) if name == "log-ratio" else np.log(a / (1 - a)) - np.log(b / (1 - b))
