"""Statistics that can be resampled: a ratio of sums over clusters, a quantile of completions, or a deviation.

A cluster is a prompt with all its samples (or a held-out text). All kinds of series can compute their value, their
values under cluster weights (R, P), their values without each cluster (P,), and, except for deviations, differences
after swapping labels. All of these are exact; resamples are never approximated by bins.

Shapes: P clusters, N completions, R resamples.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detox_ray.measure.combined import Combined
from detox_ray.measure.resampling import Floats, all_but_one
from detox_ray.measure.rounding import by_scaling
from detox_ray.storage.tables import OK

_BINS = 128  # bins of sorted values; a rank is looked up first among bins, and then within one


class Ratio(NamedTuple):
    """transform(sum of numerators / sum of denominators) over clusters. A mean over clusters has denominators of 1."""

    clusters: tuple[str, ...]  # P distinct names, sorted
    numerator: Floats  # (P,)
    denominator: Floats  # (P,), positive, or 0 if over() added the cluster
    transform: Callable[[Floats], Floats] | None = None
    decimals: int | None = None  # digits to which the point value is rounded; resampled values are never rounded
    status: str = OK  # otherwise the reason why there is no value; P is then 0
    point: float | None = None  # the value as a script sums it, in the completions' order, which can decide a rounding
    rounding: Callable[[float, int], float] = by_scaling

    def points(self, numerators: Floats, denominators: Floats) -> Floats:
        """Return the statistic, not rounded, from sums of any shape."""
        with np.errstate(over="ignore", invalid="ignore"):  # a resample may draw only clusters that over() added
            ratio = numerators / denominators
            return ratio if self.transform is None else self.transform(ratio)

    def exact(self) -> float:
        """Return the point value before rounding."""
        return float(self.points(self.numerator.sum(), self.denominator.sum()))

    def value(self) -> float:
        """Return the point value as reported."""
        if self.decimals is None:
            return self.exact()
        return self.rounding(self.exact() if self.point is None else self.point, self.decimals)

    def under(self, weights: Floats) -> Floats:
        """Return (R,) values with each cluster counted as often as its weight (R, P) says."""
        sums = weights @ np.stack([self.numerator, self.denominator], axis=1)
        return self.points(sums[:, 0], sums[:, 1])

    def left_out(self) -> Floats:
        """Return (P,) values without each of the clusters in turn; P >= 2."""
        return self.points(self.numerator.sum() - self.numerator, self.denominator.sum() - self.denominator)

    def pick(self, places: Sequence[int]) -> "Ratio":
        """Return the clusters at these places."""
        names = tuple(self.clusters[i] for i in places)
        kept = list(places)
        picked = self.numerator[kept], self.denominator[kept]
        return self._replace(clusters=names, numerator=picked[0], denominator=picked[1], point=None)

    def over(self, clusters: tuple[str, ...]) -> "Ratio":
        """Return the same value on more clusters (sorted), of which the new ones add nothing."""
        places = _places(self.clusters, clusters)
        numerator, denominator = np.zeros(len(clusters)), np.zeros(len(clusters))
        numerator[places], denominator[places] = self.numerator, self.denominator
        return self._replace(clusters=clusters, numerator=numerator, denominator=denominator)


class Quantile(NamedTuple):
    """The q-quantile of all completions, computed like ``numpy.quantile``. Clusters are prompts."""

    clusters: tuple[str, ...]  # P distinct names, sorted; each has a completion, unless over() added it
    cluster_of: NDArray[np.int64]  # (N,) index of each value's cluster
    values: Floats  # (N,) ascending
    q: float = 0.5
    decimals: int | None = None
    midpoint: bool = False  # halfway between two adjacent values (Li et al. 2024), instead of linear interpolation
    status: str = OK

    def exact(self) -> float:
        """Return the point value before rounding; NaN if any value is NaN."""
        if np.isnan(self.values).any():
            return float("nan")
        return float(self.under(np.ones((1, len(self.clusters))))[0])

    def value(self) -> float:
        """Return the point value as reported."""
        return self.exact() if self.decimals is None else by_scaling(self.exact(), self.decimals)

    def under(self, weights: Floats) -> Floats:
        """Return the quantiles (R,) if each cluster's completions are repeated by its integer weight (R, P).

        No resample is sorted. A matrix product counts how many values fall into each bin of the sorted values, and only
        the bin with the wanted rank is searched.
        """
        size = len(self.values)
        width = -(-size // _BINS)
        bins = -(-size // width)
        place = self.cluster_of * bins + np.arange(size) // width
        counts = np.bincount(place, minlength=len(self.clusters) * bins).reshape(-1, bins).astype(np.float64)
        upto = np.cumsum(weights @ counts, axis=1)  # (R, bins)
        rows = np.arange(len(weights))
        drawn = upto[:, -1]  # 0 if a resample draws only clusters that over() added
        rank = np.where(drawn > 0, self.q * (drawn - 1), -1.0)

        def at(wanted: Floats) -> Floats:
            """Return (R,) the values that have ``wanted`` (R,) values before them."""
            found = (upto <= wanted[:, None]).sum(axis=1)  # (R,) the first bin that reaches beyond the rank
            before = np.where(found > 0, upto[rows, found - 1], 0.0)
            inside = np.minimum(found[:, None] * width + np.arange(width), size - 1)  # (R, width)
            passed = before[:, None] + np.cumsum(weights[rows[:, None], self.cluster_of[inside]], axis=1)
            return self.values[inside[rows, (passed <= wanted[:, None]).sum(axis=1)]]

        low, high = at(np.floor(rank)), at(np.ceil(rank))
        share = np.where(rank % 1 > 0, 0.5, 0.0) if self.midpoint else rank % 1
        with np.errstate(invalid="ignore"):
            found = np.where(low == high, low, low + (high - low) * share)
            # Interpolate from the nearer end, as NumPy does, because the last bit can decide a rounding.
            found = np.where((share >= 0.5) & np.isfinite(high - low), high - (high - low) * (1 - share), found)
        return np.where(drawn > 0, found, np.nan)

    def left_out(self) -> Floats:
        """Return (P,) values without each of the clusters in turn; P >= 2."""
        return np.concatenate([self.under(block) for block in all_but_one(len(self.clusters))])

    def pick(self, places: Sequence[int]) -> "Quantile":
        """Return the clusters at these places."""
        new = np.full(len(self.clusters), -1)
        new[list(places)] = np.arange(len(places))
        kept = new[self.cluster_of] >= 0
        names = tuple(self.clusters[i] for i in places)
        return self._replace(clusters=names, cluster_of=new[self.cluster_of[kept]], values=self.values[kept])

    def over(self, clusters: tuple[str, ...]) -> "Quantile":
        """Return the same value on more clusters (sorted), of which the new ones add nothing."""
        return self._replace(clusters=clusters, cluster_of=_places(self.clusters, clusters)[self.cluster_of])


class Deviation(NamedTuple):
    """The population standard deviation (ddof 0) of all values in the clusters."""

    clusters: tuple[str, ...]  # P distinct names, sorted
    sums: Floats  # (P, 3): number of values, sum of (value - centre), and sum of (value - centre) squared
    centre: float  # close to the values, so that squares stay small and no digits are lost
    decimals: int | None
    point: float | None  # the value as NumPy computes it, in the order of the values
    status: str = OK

    def exact(self) -> float:
        """Return the point value before rounding."""
        return float(_deviation(self.sums.sum(axis=0)))

    def value(self) -> float:
        """Return the point value as reported."""
        point = self.exact() if self.point is None else self.point
        return point if self.decimals is None else by_scaling(point, self.decimals)

    def under(self, weights: Floats) -> Floats:
        """Return the deviations (R,) under cluster weights (R, P), which say how often each cluster counts."""
        return _deviation(weights @ self.sums)

    def left_out(self) -> Floats:
        """Return (P,) values without each of the clusters in turn; P >= 2."""
        return _deviation(self.sums.sum(axis=0) - self.sums)

    def pick(self, places: Sequence[int]) -> "Deviation":
        """Return the clusters at these places."""
        return self._replace(clusters=tuple(self.clusters[i] for i in places), sums=self.sums[list(places)], point=None)

    def over(self, clusters: tuple[str, ...]) -> "Deviation":
        """Return the same value on more clusters (sorted), of which the new ones add nothing."""
        sums = np.zeros((len(clusters), 3))
        sums[_places(self.clusters, clusters)] = self.sums
        return self._replace(clusters=clusters, sums=sums)


def _deviation(sums: Floats) -> Floats:
    """Return the deviation (…) from sums (…, 3); NaN if there are no values."""
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = sums[..., 2] / sums[..., 0] - (sums[..., 1] / sums[..., 0]) ** 2
    return np.sqrt(np.maximum(variance, 0.0))


Series = Ratio | Quantile | Deviation | Combined


def ratio(
    clusters: Sequence[str],
    numerator: NDArray[Any],
    denominator: NDArray[Any],
    *,
    transform: Callable[[Floats], Floats] | None = None,
    decimals: int | None = None,
    point: float | None = None,
    rounding: Callable[[float, int], float] = by_scaling,
) -> Ratio:
    """Return a Ratio sorted by cluster name, so that the order of a table's rows does not matter."""
    assert len(set(clusters)) == len(clusters) and bool(np.all(denominator > 0))
    order = sorted(range(len(clusters)), key=clusters.__getitem__)
    names = tuple(clusters[i] for i in order)
    numerator, denominator = numerator[order].astype(float), denominator[order].astype(float)
    return Ratio(names, numerator, denominator, transform, decimals, point=point, rounding=rounding)


def deviation(
    clusters: Sequence[str], cluster_of: NDArray[Any], values: NDArray[Any], *, decimals: int | None
) -> Deviation:
    """Return the Deviation of N >= 1 values (N,). ``cluster_of`` (N,) is the index of each value's cluster.

    Every cluster must have a value.
    """
    values = values.astype(float)
    centre, size = float(values.mean()), len(clusters)
    shifted = values - centre
    powers = (None, shifted, shifted**2)
    sums = np.stack([np.bincount(cluster_of, power, minlength=size) for power in powers], axis=1).astype(float)
    assert len(set(clusters)) == size and bool(np.all(sums[:, 0] > 0))
    order = sorted(range(size), key=clusters.__getitem__)
    return Deviation(tuple(clusters[i] for i in order), sums[order], centre, decimals, float(values.std()))


def quantile(
    clusters: Sequence[str],
    cluster_of: NDArray[Any],
    values: NDArray[Any],
    *,
    q: float = 0.5,
    decimals: int | None = None,
    midpoint: bool = False,
) -> Quantile:
    """Return a Quantile of N >= 1 values, by default the median. ``cluster_of`` (N,) is the index of their clusters.

    Clusters without a value are left out.
    """
    assert len(set(clusters)) == len(clusters) and len(values) == len(cluster_of) > 0
    full = np.unique(cluster_of)  # indices of clusters with values
    by_name = sorted(full.tolist(), key=clusters.__getitem__)
    new = np.full(len(clusters), -1)
    new[by_name] = np.arange(len(by_name))
    places = new[cluster_of]
    order = np.lexsort((places, values))  # ties are in the order of clusters, so the order of rows does not matter
    names = tuple(clusters[i] for i in by_name)
    return Quantile(names, places[order], values[order].astype(float), q, decimals, midpoint)


def without_value(status: str) -> Ratio:
    """Return the series of a measurement that has no value, with the reason as its status."""
    assert status != OK
    return Ratio((), np.empty(0), np.empty(0), status=status)


def common(a: Series, b: Series) -> tuple[Series, Series]:
    """Return both series restricted to the clusters that both have."""
    if a.clusters == b.clusters:
        return a, b
    places = {name: i for i, name in enumerate(b.clusters)}
    pairs = [(i, places[name]) for i, name in enumerate(a.clusters) if name in places]
    return a.pick([i for i, _ in pairs]), b.pick([j for _, j in pairs])


def united(a: Series, b: Series) -> tuple[Series, Series]:
    """Return both series extended to the clusters that either has. If one has no value, return them unchanged."""
    if not a.status == b.status == OK:
        return a, b
    clusters = tuple(sorted({*a.clusters, *b.clusters}))
    return a.over(clusters), b.over(clusters)


def _places(clusters: tuple[str, ...], among: tuple[str, ...]) -> NDArray[np.int64]:
    place = {name: i for i, name in enumerate(among)}
    return np.array([place[name] for name in clusters], dtype=np.int64)


def swapped(a: Series, b: Series, coins: Floats) -> Floats:
    """Return the differences (R,) a - b after swapping the two labels of each cluster whose coin (R, P) is -1."""
    if isinstance(a, Combined) and isinstance(b, Combined):
        return a.swapped(b, coins)
    if isinstance(a, Ratio) and isinstance(b, Ratio):
        gap = np.stack([a.numerator - b.numerator, a.denominator - b.denominator], axis=1)  # (P, 2)
        total = np.array([(a.numerator + b.numerator).sum(), (a.denominator + b.denominator).sum()])
        signed = coins @ gap  # (R, 2)
        first, second = (total + signed) / 2, (total - signed) / 2
        return a.points(first[:, 0], first[:, 1]) - b.points(second[:, 0], second[:, 1])
    assert isinstance(a, Quantile) and isinstance(b, Quantile)
    values = np.concatenate([a.values, b.values])
    order = np.argsort(values, kind="stable")
    cluster_of = np.concatenate([a.cluster_of, b.cluster_of + len(a.clusters)])
    both = a._replace(clusters=a.clusters + b.clusters, cluster_of=cluster_of[order], values=values[order])
    first = np.concatenate([coins > 0, coins < 0], axis=1).astype(np.float64)  # (R, 2P)
    return both.under(first) - both.under(1.0 - first)
