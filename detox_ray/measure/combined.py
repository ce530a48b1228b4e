"""A number that combines several means over the same clusters, such as StereoSet's ICAT, which combines two scores.

Shapes: P clusters, K means, R resamples.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from detox_ray.measure.resampling import Floats
from detox_ray.storage.tables import OK


class Combined(NamedTuple):
    """The series combine(sums of K numerators / sum of denominators), with the same methods as those of series.py."""

    clusters: tuple[str, ...]  # P distinct names, sorted
    numerators: Floats  # (P, K)
    denominator: Floats  # (P,), positive, or 0 if over() added the cluster
    combine: Callable[[Floats], Floats]  # maps (…, K) to (…)
    decimals: None = None
    status: str = OK

    def points(self, numerators: Floats, denominators: Floats) -> Floats:
        """Return the combined number (…) from sums of numerators (…, K) and of denominators (…)."""
        with np.errstate(invalid="ignore", divide="ignore"):  # a resample may draw only clusters that over() added
            return self.combine(numerators / np.asarray(denominators)[..., None])

    def exact(self) -> float:
        """Return the point value."""
        return float(self.points(self.numerators.sum(axis=0), self.denominator.sum()))

    def value(self) -> float:
        """Return the point value as reported."""
        return self.exact()

    def under(self, weights: Floats) -> Floats:
        """Return the values (R,) under cluster weights (R, P), which say how often each cluster counts."""
        return self.points(weights @ self.numerators, weights @ self.denominator)

    def left_out(self) -> Floats:
        """Return the values (P,) without each of the clusters in turn. Needs P >= 2."""
        return self.points(self.numerators.sum(axis=0) - self.numerators, self.denominator.sum() - self.denominator)

    def swapped(self, other: "Combined", coins: Floats) -> Floats:
        """Return the differences (R,) after swapping the two labels of each cluster whose coin (R, P) is -1."""
        sums = []
        for own, others in ((self.numerators, other.numerators), (self.denominator, other.denominator)):
            total, signed = (own + others).sum(axis=0), coins @ (own - others)
            sums.append(((total + signed) / 2, (total - signed) / 2))
        (first, second), (first_size, second_size) = sums
        return self.points(first, first_size) - other.points(second, second_size)

    def pick(self, places: Sequence[int]) -> "Combined":
        """Return the series with only the clusters at these places."""
        kept = list(places)
        names = tuple(self.clusters[place] for place in kept)
        return self._replace(clusters=names, numerators=self.numerators[kept], denominator=self.denominator[kept])

    def over(self, clusters: tuple[str, ...]) -> "Combined":
        """Return the series with more clusters (sorted). The new ones add nothing, so the value is the same."""
        place = {name: number for number, name in enumerate(clusters)}
        places = [place[name] for name in self.clusters]
        numerators, denominator = np.zeros((len(clusters), self.numerators.shape[1])), np.zeros(len(clusters))
        numerators[places], denominator[places] = self.numerators, self.denominator
        return self._replace(clusters=clusters, numerators=numerators, denominator=denominator)


def combined(
    clusters: Sequence[str], numerators: Floats, denominator: Floats, combine: Callable[[Floats], Floats]
) -> Combined:
    """Return a Combined in the order of its cluster names, so that the order of rows in a table does not matter."""
    assert len(set(clusters)) == len(clusters) and bool(np.all(denominator > 0))
    order = sorted(range(len(clusters)), key=clusters.__getitem__)
    names = tuple(clusters[place] for place in order)
    return Combined(names, numerators[order].astype(float), denominator[order].astype(float), combine)
