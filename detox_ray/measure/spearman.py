"""Spearman's rank correlation with a cluster bootstrap, vectorised.

Ties get their average rank. Every resample is ranked separately, because a rank depends on what else was drawn;
reusing the ranks of the whole sample would make intervals wrong. The value is exact. For the interval, values are
ranked into at most 512 bins (ties together), which moves a bound by less than 0.001. With at most 512 distinct values,
the interval is exact, too.

Shapes: N texts, P clusters, R resamples, B bins.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detox_ray.measure.resampling import Floats, Resampling, percentile_interval, weights

BINS = 512
_ROWS = 256  # texts per block

Whole = NDArray[np.int64]
Counts = NDArray[Any]  # whole numbers as float32, which are twice as fast to multiply, and exact below 2**24


class Bounded(NamedTuple):
    """A value with its interval; None if there is none."""

    value: float | None
    low: float | None
    high: float | None


NOTHING = Bounded(None, None, None)


def numbered(clusters: NDArray[Any]) -> Whole:
    """Turn names of clusters (N,), of any type, into consecutive numbers from 0."""
    return np.unique(clusters, return_inverse=True)[1].astype(np.int64)


def binned(values: Floats) -> Whole:
    """Return the bin (N,) of each value. Bins ascend with the values, and equal values share a bin.

    If there are at most `BINS` distinct values, each has its own bin.
    """
    distinct, rank, ties = np.unique(values, return_inverse=True, return_counts=True)
    if len(distinct) > BINS:
        rank = ((np.cumsum(ties) - ties) * BINS // len(values))[rank]
    return rank.astype(np.int64)


def histogram(cluster: Whole, bins: Whole, size: int) -> Counts:
    """Return the number (P, ``size``) of each cluster's texts in each bin."""
    clusters = int(cluster.max()) + 1
    return np.bincount(cluster * size + bins, minlength=clusters * size).reshape(clusters, size).astype(np.float32)


def bounds(draws: Floats, confidence: float) -> tuple[float | None, float | None]:
    """Return the percentile interval of those resamples in which the statistic is defined."""
    draws = draws[~np.isnan(draws)]
    return percentile_interval(draws, confidence) if len(draws) else (None, None)


def spearman(a: Floats, b: Floats, cluster: Whole, language: str, resampling: Resampling) -> Bounded:
    """Return the rank correlation of ``a`` (N,) with ``b`` (N,), without a value if one of them is constant.

    ``cluster`` (N,) comes from `numbered`.
    """
    from scipy.stats import rankdata

    if len(a) == 0 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return NOTHING
    value = float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
    clusters = int(cluster.max()) + 1
    if clusters == 1:
        return Bounded(value, None, None)
    sides = binned(a), binned(b)
    counts = [histogram(cluster, side, int(side.max()) + 1) for side in sides]
    # Texts of a cluster that share both bins have the same weight in every resample.
    places, times = np.unique(np.stack([cluster, *sides]), axis=1, return_counts=True)
    draws = [
        _correlations(block.astype(np.float32), counts, places, times.astype(np.float32))
        for block in weights(clusters, language, resampling)
    ]
    return Bounded(value, *bounds(np.concatenate(draws), resampling.confidence))


def _correlations(drawn: Counts, counts: list[Counts], places: Whole, times: Counts) -> Floats:
    """Return the correlations (R,).

    Args:
        drawn: Weights (R, P).
        counts: For each side, the number (P, B) of texts in each bin.
        places: Cluster and both bins (3, M) of M distinct combinations.
        times: Number (M,) of texts with each combination.
    """
    ranks, spread = [], np.ones(len(drawn))
    for side in counts:
        held = drawn @ side  # (R, B)
        total = held.sum(axis=1, keepdims=True)
        rank = (np.cumsum(held, axis=1) - held / 2) / total - 0.5  # average rank of the bin over R's texts; mean 0
        spread *= np.einsum("rb,rb,rb->r", held.astype(np.float64), rank, rank)
        ranks.append(np.ascontiguousarray(rank.T))  # (B, R): a text's row lies together
    times_drawn = np.ascontiguousarray(drawn.T)  # (P, R)
    shared = np.zeros(len(drawn))
    for start in range(0, places.shape[1], _ROWS):
        cluster, left, right = places[:, start : start + _ROWS]
        product = times_drawn[cluster] * times[start : start + _ROWS, None]
        product *= ranks[0][left]
        product *= ranks[1][right]
        shared += product.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 0, shared / np.sqrt(spread), np.nan)
