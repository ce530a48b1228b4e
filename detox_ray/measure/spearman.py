"""Spearman's rank correlation with a cluster bootstrap, vectorised.

Ties get their average rank, and every resample is ranked by itself: ranks kept from the whole sample would make
intervals wrong, for a rank depends on who else was drawn. The value is exact. For the interval, values are ranked into
at most 512 bins (ties together), which moves a bound by less than 0.001; with at most 512 distinct values it is exact
too.

Shapes: N texts, P clusters, R resamples, B bins.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detox_ray.measure.resampling import Floats, Resampling, percentile_interval, weights

BINS = 512
_ROWS = 256  # texts at once

Whole = NDArray[np.int64]
Counts = NDArray[Any]  # whole numbers as float32: twice as fast to multiply, and exact below 2**24


class Bounded(NamedTuple):
    """A value with its interval; None if there is none."""

    value: float | None
    low: float | None
    high: float | None


NOTHING = Bounded(None, None, None)


def numbered(clusters: NDArray[Any]) -> Whole:
    """Turn (N,) names of clusters, of any kind, into numbers from 0 without gaps."""
    return np.unique(clusters, return_inverse=True)[1].astype(np.int64)


def binned(values: Floats) -> Whole:
    """Return (N,) the bin of each value, in the values' order; equal values share a bin.

    Each distinct value has its own if there are at most `BINS` of them.
    """
    distinct, rank, ties = np.unique(values, return_inverse=True, return_counts=True)
    if len(distinct) > BINS:
        rank = ((np.cumsum(ties) - ties) * BINS // len(values))[rank]
    return rank.astype(np.int64)


def histogram(cluster: Whole, bins: Whole, size: int) -> Counts:
    """Return (P, ``size``) how many of each cluster's texts are in each bin."""
    clusters = int(cluster.max()) + 1
    return np.bincount(cluster * size + bins, minlength=clusters * size).reshape(clusters, size).astype(np.float32)


def bounds(draws: Floats, confidence: float) -> tuple[float | None, float | None]:
    """Return the percentile interval of the resamples in which the statistic exists."""
    draws = draws[~np.isnan(draws)]
    return percentile_interval(draws, confidence) if len(draws) else (None, None)


def spearman(a: Floats, b: Floats, cluster: Whole, language: str, resampling: Resampling) -> Bounded:
    """Return the rank correlation of (N,) with (N,); ``cluster`` (N,) is from `numbered`. No value if a side is
    constant."""
    from scipy.stats import rankdata

    if len(a) == 0 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return NOTHING
    value = float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
    clusters = int(cluster.max()) + 1
    if clusters == 1:
        return Bounded(value, None, None)
    sides = binned(a), binned(b)
    counts = [histogram(cluster, side, int(side.max()) + 1) for side in sides]
    # Texts of one cluster in the same two bins weigh the same in every resample.
    places, times = np.unique(np.stack([cluster, *sides]), axis=1, return_counts=True)
    draws = [
        _correlations(block.astype(np.float32), counts, places, times.astype(np.float32))
        for block in weights(clusters, language, resampling)
    ]
    return Bounded(value, *bounds(np.concatenate(draws), resampling.confidence))


def _correlations(drawn: Counts, counts: list[Counts], places: Whole, times: Counts) -> Floats:
    """Return (R,) correlations; ``drawn`` (R, P), ``counts`` per side (P, B), ``places`` (3, M): cluster and both
    bins."""
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
