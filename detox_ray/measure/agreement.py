"""Agreement of two scorers on the same completions: Spearman's correlation and Cohen's kappa, per language.

Spearman's correlation compares how they rank completions. Kappa compares their decisions (value >= threshold), beyond
the agreement that their shares of toxic completions would give by chance. Neither says which scorer is right;
`validity` does. Completions of all models are pooled. A cluster of the bootstrap is a prompt with all its completions,
and intervals are percentile intervals.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detox_ray.measure.resampling import Floats, Resampling, weights
from detox_ray.measure.spearman import NOTHING, Bounded, Whole, bounds, histogram, numbered, spearman
from detox_ray.storage.tables import OK

NO_COMMON_SCORES = "no_common_scores"
CONSTANT = "constant_scores"  # one of the two has the same value everywhere, so there is no correlation


class ScorerAgreement(NamedTuple):
    """The agreement of two scorers in one language."""

    scorer: str
    other: str
    language: str
    n: int  # number of completions that both scored
    spearman: float | None
    spearman_low: float | None
    spearman_high: float | None
    kappa: float | None  # also None if both decide the same way about everything, which chance alone explains
    kappa_low: float | None
    kappa_high: float | None
    status: str  # "ok", or why there is no correlation


def agreement(
    values: Floats,
    other_values: Floats,
    prompts: NDArray[Any],
    language: str,
    resampling: Resampling,
    *,
    scorer: str,
    other: str,
    threshold: float,
) -> ScorerAgreement:
    """Compare two scorers on N completions. ``prompts`` (N,) are names or numbers of the completions' prompts."""
    if not len(values):
        return no_agreement(scorer, other, language, NO_COMMON_SCORES)
    cluster = numbered(prompts)
    ranks = spearman(values, other_values, cluster, language, resampling)
    decisions = cohen_kappa(values >= threshold, other_values >= threshold, cluster, language, resampling)
    status = CONSTANT if ranks.value is None else OK
    return ScorerAgreement(scorer, other, language, len(values), *ranks, *decisions, status)


def no_agreement(scorer: str, other: str, language: str, status: str) -> ScorerAgreement:
    """Return the row of two scorers that cannot be compared. ``status`` is the reason: "unsupported_language", …"""
    return ScorerAgreement(scorer, other, language, 0, *NOTHING, *NOTHING, status)


def cohen_kappa(
    decisions: NDArray[np.bool_],
    other: NDArray[np.bool_],
    cluster: Whole,
    language: str,
    resampling: Resampling,
) -> Bounded:
    """Return Cohen's kappa (Cohen 1960) of two (N,) decisions. ``cluster`` (N,) comes from `numbered`."""
    table = histogram(cluster, 2 * decisions.astype(np.int64) + other, 4).astype(np.float64)  # (P, 4)
    value = float(_kappa(table.sum(axis=0)))
    if np.isnan(value):
        return NOTHING
    if len(table) == 1:
        return Bounded(value, None, None)
    draws = np.concatenate([_kappa(block @ table) for block in weights(len(table), language, resampling)])
    return Bounded(value, *bounds(draws, resampling.confidence))


def _kappa(cells: Floats) -> Floats:
    """Return kappas (…) of counts (…, 4): neither, only the other, only this one, both. NaN if chance explains all."""
    neither, second, first, both = np.moveaxis(cells, -1, 0)
    total = neither + second + first + both
    a, b = first + both, second + both
    chance = a * b + (total - a) * (total - b)  # times total²
    observed = (neither + both) * total
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa: Floats = (observed - chance) / np.where(chance == total**2, np.nan, total**2 - chance)
    return kappa
