"""Quantities whose clusters are the same in all languages, such as translations of one pair of sentences.

If each language drew its clusters by itself, the mean over languages would seem more certain than it is, because its
languages err together. So one draw serves all languages. It covers all clusters that any language has, and each
language uses its own among them; a swap of labels swaps a cluster in all languages at once.

A language with few of the clusters has none in some of these draws. It then draws its own clusters by itself. A
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
    """The series of such quantities in all languages."""

    def __init__(self) -> None:
        self._series: dict[Place, Series] = {}
        self._unions: dict[tuple[str, str], tuple[str, ...]] = {}  # (scorer, part) -> clusters, sorted

    def add(self, place: Place, series: Series) -> None:
        """Add a series."""
        self._series[place] = series
        self._unions.clear()

    def quantities(self) -> Iterator[tuple[Quantity, str]]:
        """Yield each (quantity, language); those that share a draw follow each other."""
        pairs = dict.fromkeys((place.quantity, place.language) for place in self._series)
        yield from sorted(pairs, key=lambda pair: (pair[0].scorer, pair[0].part))

    def sides(self, quantity: Quantity, language: str, model: str) -> Series:
        """Return one series."""
        return self._series[Place(quantity, model, language)]

    def draw(self, quantity: Quantity) -> tuple[str, tuple[str, ...]]:
        """Return the name of the draw that a quantity belongs to, and the clusters that are drawn."""
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
    """Return the value of one series in one language with the interval of a shared draw."""
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
    """Return model minus parent with the interval and test of a shared draw.

    Args:
        model: The model's series.
        parent: Its parent's.
        language: The language of both.
        draw: The draw's name and clusters.
        resampling: How many draws, and of which seed.
        exact: Whether to test by McNemar's exact test if every cluster is a single case.
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
    """Return the exact two-sided p-value of the hypothesis that changes in both directions are equally likely.

    None if a cluster is not a single case that is right or wrong.
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
