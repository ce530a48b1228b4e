"""Correlations over a dozen languages, with their uncertainty: does one number of each language predict another one?

With 16 languages, chance alone gives |r| = .50 once in twenty times, and a true r of .65 is found four times in five.
Each correlation therefore comes with an interval, a permutation p-value of its own statistic, its range if one language
is left out, and the smallest r that this number of languages can detect.

- The p-value is two-sided and comes from permuting the languages, with +1 in numerator and denominator. With at most 8
  languages, all permutations are counted.
- The interval resamples languages. If the target is given as draws (`targets_RL`, each a resample of prompts), each
  resample takes the target from another draw, so the interval includes the target's own error.
- Reliability is 1 - (mean variance of a language's target) / (variance between languages): the share of the spread
  that is between languages, not noise.
- Status ``saturated``: the target is nearly the same in all languages, so nothing can predict it. ``constant``: the
  predictor is the same in all languages. ``too_few``: fewer than `FEWEST` languages have both numbers.

Shapes: L languages, R resamples.
"""

from itertools import permutations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detox_ray.measure.resampling import POWER, generator, percentile_interval

Floats = NDArray[np.float64]
Method = Literal["pearson", "spearman"]
OK, SATURATED, CONSTANT, TOO_FEW = "ok", "saturated", "constant", "too_few"
FEWEST = 5  # minimum number of languages: with 4, no permutation p-value can fall below .05
EXACT = 8  # maximum number of languages for which all permutations (40,320) are counted
SPREAD = 0.01  # a target with a smaller range (of a share or a log-ratio) counts as equal in all languages


class Correlation(NamedTuple):
    """A correlation over languages. If it is not defined, all fields but ``n`` and ``status`` are None."""

    n: int
    status: str
    value: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p_value: float | None = None
    loo_low: float | None = None  # lowest value if one language is left out
    loo_high: float | None = None
    partial: float | None = None  # after a linear (or rank-linear) fit on the controls is subtracted
    detectable: float | None = None  # smallest |r| that n languages detect with a power of 80 % at 5 %
    reliability: float | None = None  # of the target; None if its draws are not given


def correlate(
    predictor_L: Floats,
    target_L: Floats,
    method: Method,
    seed: int,
    *,
    targets_RL: Floats | None = None,
    controls_LC: Floats | None = None,
    bounded_L: NDArray[np.bool_] | None = None,
    resamples: int = 2000,
    permuted: int = 10_000,
    confidence: float = 0.95,
) -> Correlation:
    """Correlate two numbers of each language. Languages in which either is NaN are left out.

    Args:
        predictor_L: the predictor.
        target_L: the target.
        method: the coefficient to compute.
        seed: seed of permutations and resamples.
        targets_RL: the target in R resamples of prompts.
        controls_LC: C further numbers of each language, for the partial correlation.
        bounded_L: whether the target is at its bound, where it no longer measures anything. If it is in most
            languages, it counts as saturated.
        resamples: number of resamples of languages, for the interval.
        permuted: number of random permutations, if there are too many to count all.
        confidence: level of the interval.
    """
    kept = np.isfinite(predictor_L) & np.isfinite(target_L)
    x, y = predictor_L[kept], target_L[kept]
    n = len(x)
    if n < FEWEST:
        status = TOO_FEW
    elif np.ptp(y) < SPREAD or (bounded_L is not None and 2 * bounded_L[kept].sum() > n):
        status = SATURATED
    else:
        status = CONSTANT if np.ptp(x) == 0 else OK
    if status != OK:
        return Correlation(n, status, detectable=detectable(n))
    rng = generator(seed, "correlation", method, n)
    value = float(_r(x, y, method))
    draws_RL = None if targets_RL is None else targets_RL[:, kept]
    low, high = _interval(x, y, draws_RL, method, rng, resamples, confidence)
    left_out = [float(_r(np.delete(x, i), np.delete(y, i), method)) for i in range(n)]
    partial = None if controls_LC is None else _partial(x, y, controls_LC[kept], method)
    reliability = None
    if draws_RL is not None:
        reliability = max(0.0, 1 - float(np.nanvar(draws_RL, axis=0).mean() / np.var(y)))
    return Correlation(
        n,
        OK,
        value,
        low,
        high,
        _permutation_p(x, y, method, rng, permuted),
        min(left_out),
        max(left_out),
        partial,
        detectable(n, confidence),
        reliability,
    )


def detectable(n: int, confidence: float = 0.95) -> float | None:
    """Return the smallest |r| that n languages detect with a power of 80 %, by Fisher's transformation."""
    from scipy.special import ndtri

    if n < FEWEST:
        return None
    return float(np.tanh((ndtri((1 + confidence) / 2) + ndtri(POWER)) / np.sqrt(n - 3)))


def fisher_interval(r: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of a published r over n languages, by Fisher's transformation."""
    from scipy.special import ndtri

    half = ndtri((1 + confidence) / 2) / np.sqrt(n - 3)
    return float(np.tanh(np.arctanh(r) - half)), float(np.tanh(np.arctanh(r) + half))


def _r(x: Floats, y: Floats, method: Method) -> NDArray[np.float64]:
    """Return correlations along the last axis; NaN if a side is constant."""
    if method == "spearman":
        from scipy.stats import rankdata

        x, y = rankdata(x, axis=-1), rankdata(y, axis=-1)
    a, b = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        r: Floats = (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    return r


def _permutation_p(x: Floats, y: Floats, method: Method, rng: np.random.Generator, permuted: int) -> float:
    exact = len(x) <= EXACT
    orders = (
        np.array(list(permutations(range(len(x))))) if exact else np.argsort(rng.random((permuted, len(x))), axis=1)
    )
    extreme = np.abs(_r(x, y[orders], method)) >= abs(_r(x, y, method)) - 1e-12
    return float(extreme.mean() if exact else (1 + extreme.sum()) / (1 + permuted))


def _interval(
    x: Floats,
    y: Floats,
    draws_RL: Floats | None,
    method: Method,
    rng: np.random.Generator,
    resamples: int,
    confidence: float,
) -> tuple[float | None, float | None]:
    picked_RL = rng.integers(0, len(x), (resamples, len(x)))
    targets = y[picked_RL]
    if draws_RL is not None:
        of_resample = draws_RL[rng.integers(0, len(draws_RL), resamples)]
        targets = np.take_along_axis(of_resample, picked_RL, axis=1)
    values = _r(x[picked_RL], targets, method)
    values = values[np.isfinite(values)]  # a resample may hold a single language
    return percentile_interval(values, confidence) if len(values) else (None, None)


def _partial(x: Floats, y: Floats, controls_LC: Floats, method: Method) -> float | None:
    """Return the correlation of the residuals of both sides after a linear fit on the controls."""
    if not np.isfinite(controls_LC).all() or len(x) - controls_LC.shape[1] < FEWEST:
        return None
    sides = [x, y, *controls_LC.T]
    if method == "spearman":
        from scipy.stats import rankdata

        sides = [rankdata(side) for side in sides]
    design = np.column_stack([np.ones(len(x)), *sides[2:]])
    left = [side - design @ np.linalg.lstsq(design, side, rcond=None)[0] for side in sides[:2]]
    value = float(_r(left[0], left[1], "pearson"))
    return value if np.isfinite(value) and min(np.ptp(side) for side in left) > 1e-9 else None
