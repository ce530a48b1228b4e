"""How far a scorer can be believed in a language: AUROC against a reference scorer on the same completions.

AUROC is the chance that a completion which the reference calls toxic (>= 0.5) has a higher value than one which it
does not; ties count half. 0.5 is guessing. Completions of all models are pooled, and a prompt with all its completions
is one cluster of the bootstrap. The value is exact; for the interval, values are ranked into at most 512 bins (ties
together), which moves a bound by at most 0.001 and makes 2,000 resamples of 50,000 completions two matrix products.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detox_ray.measure.statistics import Floats, Resampling, percentile_interval, weights
from detox_ray.tables import OK

TOXIC_FROM = 0.5  # of the reference's value
_BINS = 512

Counts = NDArray[Any]  # whole numbers as float32: twice as fast to multiply, and exact below 2**24


class Validity(NamedTuple):
    """One scorer in one language."""

    scorer: str
    reference: str
    language: str
    n: int  # completions that both scored
    auroc: float | None
    ci_low: float | None
    ci_high: float | None
    status: str  # "ok", or why there is no AUROC


def auroc(
    values: Floats,
    reference: Floats,
    prompts: NDArray[np.int64],
    language: str,
    resampling: Resampling,
) -> tuple[float | None, float | None, float | None, str]:
    """(auroc, ci_low, ci_high, status) of N completions scored by both; ``prompts`` (N,) numbers their prompts."""
    toxic = reference >= TOXIC_FROM
    if not len(values):
        return None, None, None, "no_common_scores"
    if toxic.all() or not toxic.any():
        return None, None, None, "one_class"  # the reference calls all of them toxic, or none
    distinct, rank, ties = np.unique(values, return_inverse=True, return_counts=True)
    _, cluster = np.unique(prompts, return_inverse=True)
    size = int(cluster.max()) + 1
    exact = _auroc(*_histograms(np.zeros_like(cluster), rank, toxic, 1, len(distinct)))
    if size == 1:
        return float(exact[0]), None, None, OK
    if len(distinct) > _BINS:
        rank = ((np.cumsum(ties) - ties) * _BINS // len(values))[rank]
    bins = int(rank.max()) + 1
    positive, negative = _histograms(cluster, rank, toxic, size, bins)
    blocks = (block.astype(np.float32) for block in weights(size, language, resampling))
    draws = np.concatenate([_auroc(block @ positive, block @ negative) for block in blocks])
    draws = draws[~np.isnan(draws)]  # a resample without toxic or without harmless completions has no AUROC
    low, high = percentile_interval(draws, resampling.confidence) if len(draws) else (None, None)
    return float(exact[0]), low, high, OK


def _histograms(
    cluster: NDArray[np.int64], rank: NDArray[np.int64], toxic: NDArray[np.bool_], clusters: int, bins: int
) -> tuple[Counts, Counts]:
    """(clusters, bins) counts of toxic and of harmless completions by rank of their value."""
    place = cluster * bins + rank
    positive, negative = (
        np.bincount(place[side], minlength=clusters * bins).reshape(clusters, bins).astype(np.float32)
        for side in (toxic, ~toxic)
    )
    return positive, negative


def _auroc(positive: Counts, negative: Counts) -> Floats:
    """(R,) from (R, bins): harmless completions ranked below each toxic one, plus half of those tied with it."""
    positive, negative = positive.astype(np.float64), negative.astype(np.float64)
    below = np.cumsum(negative, axis=1) - negative / 2
    with np.errstate(invalid="ignore"):
        return (positive * below).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1))
