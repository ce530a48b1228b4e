"""Quantities that have the same clusters in all languages, such as translations of a pair of sentences.

If each language drew its clusters independently, the mean over languages would look more certain than it is, because
the errors of languages are correlated. So all languages share one draw. It covers the clusters of all languages, of
which each language uses those that it has. A swap of labels swaps a cluster in all languages at once.

A language with few of the clusters may have none in some of these draws. It then draws its clusters independently. A
language with a single cluster has a value and no interval, as everywhere (statistics.py).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from detox_ray.measure.quantities import Quantity
from detox_ray.measure.series import Ratio, Series, common
from detox_ray.measure.statistics import IntervalEstimate, Resampling, difference, estimate
from detox_ray.storage.tables import OK


class Place(NamedTuple):
    """The subject of a series: a quantity, a model and a language."""

    quantity: Quantity
    model: str
    language: str


class ParallelSeries:
    """The series of parallel quantities in all languages."""

    def __init__(self) -> None:
        self._series: dict[Place, Series] = {}
        self._unions: dict[tuple[str, str], tuple[str, ...]] = {}  # (scorer, part) -> clusters, sorted

    def add(self, place: Place, series: Series) -> None:
        """Add a series."""
        self._series[place] = series
        self._unions.clear()

    def quantities(self) -> Iterator[tuple[Quantity, str]]:
        """Yield each (quantity, language). Those that share a draw are adjacent."""
        pairs = dict.fromkeys((place.quantity, place.language) for place in self._series)
        yield from sorted(pairs, key=lambda pair: (pair[0].scorer, pair[0].part))

    def sides(self, quantity: Quantity, language: str, model: str) -> Series:
        """Return the series of one model."""
        return self._series[Place(quantity, model, language)]

    def draw(self, quantity: Quantity) -> tuple[str, tuple[str, ...]]:
        """Return the name of a quantity's draw, and the clusters that are drawn."""
        key = quantity.scorer, quantity.part
        if not self._unions:
            clusters: dict[tuple[str, str], set[str]] = {}
            for place, series in self._series.items():
                clusters.setdefault((place.quantity.scorer, place.quantity.part), set()).update(series.clusters)
            self._unions = {each: tuple(sorted(names)) for each, names in clusters.items()}
        return f"{quantity.scorer} {quantity.part}", self._unions[key]


def estimate_over(
    series: Series, language: str, draw: tuple[str, tuple[str, ...]], resampling: Resampling
) -> IntervalEstimate:
    """Return the value of a series in one language with its interval, using a shared draw."""
    if series.status != OK:
        return estimate(series, draw[0], resampling)
    shared = estimate(series.over(draw[1]), draw[0], resampling)
    if shared.low is None and len(series.clusters) > 1:
        return estimate(series, f"{draw[0]} {language}", resampling)
    return shared._replace(n=len(series.clusters))


def difference_over(
    model: Series,
    parent: Series,
    language: str,
    draw: tuple[str, tuple[str, ...]],
    resampling: Resampling,
    exact: bool,
) -> IntervalEstimate:
    """Return model minus parent with its interval and test, using a shared draw.

    Args:
        model: The model's series.
        parent: The parent's series.
        language: The language of both.
        draw: Name and clusters of the draw.
        resampling: The settings of the resampling.
        exact: Whether to use McNemar's exact test if every cluster is a single case.
    """
    if not model.status == parent.status == OK:
        return difference(model, parent, draw[0], resampling)
    a, b = common(model, parent)
    if not a.clusters:
        return difference(a, b, draw[0], resampling)
    gap = difference(a.over(draw[1]), b.over(draw[1]), draw[0], resampling)._replace(n=len(a.clusters))
    if gap.low is None and len(a.clusters) > 1:
        gap = difference(a, b, f"{draw[0]} {language}", resampling)
    if exact and gap.p_value is not None and (p := mcnemar(a, b)) is not None:
        return gap._replace(p_value=p)
    return gap


def mcnemar(model: Series, parent: Series) -> float | None:
    """Return McNemar's exact two-sided p-value, for the hypothesis that changes in both directions are equally likely.

    Returns None unless every cluster is a single case that is right or wrong.
    """
    if not isinstance(model, Ratio) or not isinstance(parent, Ratio):
        return None
    for series in (model, parent):
        if not (np.all(series.denominator == 1) and np.all(np.isin(series.numerator, (0.0, 1.0)))):
            return None
    gained = int(np.sum(model.numerator > parent.numerator))
    lost = int(np.sum(model.numerator < parent.numerator))
    if gained + lost == 0:
        return 1.0
    from scipy.special import bdtr

    return float(min(1.0, 2 * bdtr(min(gained, lost), gained + lost, 0.5)))
