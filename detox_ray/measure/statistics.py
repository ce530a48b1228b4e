"""The one statistics primitive under all metrics: ratios of sums over clusters, resampled by whole clusters.

A cluster is a prompt with all its samples (or a held-out text). Samples of one prompt resemble each other, so that
resampling single completions would make intervals far too narrow; here a prompt is drawn or left out as a whole.

- Interval: percentile bootstrap. For a difference, both models get the same drawn prompts (paired). For a macro mean,
  languages are drawn independently (stratified) and averaged draw by draw.
- Test: two-sided paired permutation. The two models' labels are swapped within each prompt by a fair coin; for a mean
  over prompts that is flipping the sign of its difference. +1 in both terms of the fraction (Phipson and Smyth 2010),
  so that no p-value is 0. For a macro mean, all languages are swapped at once.
- Correction: Holm over the languages of one metric.

Draws depend on (seed, purpose, language) only, so neither the order of work nor other metrics change a result.
Shapes: P clusters, R resamples.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detox_ray.tables import OK

Floats = NDArray[np.float64]
INTERVAL = "percentile bootstrap over prompts"
_CELLS = 4_000_000  # of the (R, P) weight matrix held at once: 32 MB


class Ratio(NamedTuple):
    """transform(sum of numerators / sum of denominators) over clusters; a mean over clusters has denominators of 1."""

    clusters: tuple[str, ...]  # P names, sorted, distinct
    numerator: Floats  # (P,)
    denominator: Floats  # (P,), all > 0
    transform: Callable[[Floats], Floats] | None = None
    decimals: int | None = None  # the point value is rounded to these; resampling never is
    status: str = OK  # why there is no value; then P is 0

    def points(self, numerators: Floats, denominators: Floats) -> Floats:
        """The statistic from sums of any shape, not rounded."""
        with np.errstate(over="ignore"):
            ratio = numerators / denominators
            return ratio if self.transform is None else self.transform(ratio)

    def exact(self) -> float:
        """The point value before rounding."""
        return float(self.points(self.numerator.sum(), self.denominator.sum()))

    def value(self) -> float:
        """The point value as reported."""
        return self.exact() if self.decimals is None else round(self.exact(), self.decimals)


class Resampling(NamedTuple):
    """How every interval and test of one measurement is made."""

    seed: int
    resamples: int  # R, of the bootstrap and of the permutation test
    confidence: float  # of the intervals, in (0, 1)


class Estimate(NamedTuple):
    """A value with its interval; ``exact``, ``draws`` and ``swaps`` are what a macro mean needs of it."""

    value: float | None  # as reported, rounded where the convention rounds
    low: float | None
    high: float | None
    p_value: float | None
    n: int
    status: str
    exact: float = 0.0  # before rounding
    draws: Floats | None = None  # (R,) bootstrap; None where one cluster allows no interval
    swaps: Floats | None = None  # (R,) permutation, differences only


def ratio(
    clusters: Sequence[str],
    numerator: NDArray[Any],
    denominator: NDArray[Any],
    *,
    transform: Callable[[Floats], Floats] | None = None,
    decimals: int | None = None,
) -> Ratio:
    """A Ratio in the order of its cluster names, so that the order of rows in a table does not matter."""
    assert len(set(clusters)) == len(clusters) and bool(np.all(denominator > 0))
    order = sorted(range(len(clusters)), key=clusters.__getitem__)
    names = tuple(clusters[i] for i in order)
    return Ratio(names, numerator[order].astype(float), denominator[order].astype(float), transform, decimals)


def without_value(status: str) -> Ratio:
    """The Ratio of a measurement that could not be made, and why."""
    assert status != OK
    return Ratio((), np.empty(0), np.empty(0), status=status)


def estimate(series: Ratio, language: str, resampling: Resampling) -> Estimate:
    """The value of one model in one language with its bootstrap interval."""
    if series.status != OK:
        return _nothing(series.status)
    exact, n = series.exact(), len(series.clusters)
    if not np.isfinite(exact):
        return _nothing("not_finite")
    if n == 1:
        return Estimate(series.value(), None, None, None, 1, OK, exact)
    sums = _bootstrap(np.stack([series.numerator, series.denominator], axis=1), language, resampling)
    draws = series.points(sums[:, 0], sums[:, 1])
    low, high = percentile_interval(draws, resampling.confidence)
    return Estimate(series.value(), low, high, None, n, OK, exact, draws)


def difference(model: Ratio, parent: Ratio, language: str, resampling: Resampling) -> Estimate:
    """Model minus parent on the clusters that both have, with paired interval and permutation p-value."""
    for side in (model, parent):
        if side.status != OK:
            return _nothing(side.status)
    a, b = _common(model, parent)
    n = len(a.clusters)
    if n == 0:
        return _nothing("no_common_prompts")
    exact = a.exact() - b.exact()
    if not np.isfinite(exact):
        return _nothing("not_finite")
    value = exact if a.decimals is None else round(a.value() - b.value(), a.decimals)
    if n == 1:
        return Estimate(value, None, None, None, 1, OK, exact)
    columns = np.stack([a.numerator, a.denominator, b.numerator, b.denominator], axis=1)
    sums = _bootstrap(columns, language, resampling)
    draws = a.points(sums[:, 0], sums[:, 1]) - b.points(sums[:, 2], sums[:, 3])
    swaps = _swap_labels(a, b, language, resampling)
    low, high = percentile_interval(draws, resampling.confidence)
    return Estimate(value, low, high, permutation_p(exact, swaps), n, OK, exact, draws, swaps)


def macro(languages: Sequence[Estimate], confidence: float) -> Estimate:
    """Unweighted mean over the languages that have a value; n counts them.

    A language of one prompt has a value but no draws: then the mean has no interval and no test either.
    """
    kept = [e for e in languages if e.status == OK]
    if not kept:
        return _nothing("no_language_with_value")
    value, exact = float(np.mean([e.value for e in kept])), float(np.mean([e.exact for e in kept]))
    draws = [e.draws for e in kept if e.draws is not None]
    if len(draws) < len(kept):
        return Estimate(value, None, None, None, len(kept), OK, exact)
    mean = np.mean(draws, axis=0)
    low, high = percentile_interval(mean, confidence)
    swaps = [e.swaps for e in kept if e.swaps is not None]
    p_value = permutation_p(exact, np.mean(swaps, axis=0)) if len(swaps) == len(kept) else None
    return Estimate(value, low, high, p_value, len(kept), OK, exact, mean)


def percentile_interval(draws: Floats, confidence: float) -> tuple[float, float]:
    """The central ``confidence`` of the draws."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def permutation_p(observed: float, swaps: Floats) -> float:
    """Two-sided share of label swaps at least as extreme as what was observed, +1 in both terms."""
    slack = 1e-9 * abs(observed) + 1e-12  # a swap that gives the observed value again differs in the last bits
    return float((1 + np.sum(np.abs(swaps) >= abs(observed) - slack)) / (1 + len(swaps)))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction over the tests that were made; None stays None (Holm 1979)."""
    made = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, i) in enumerate(made):
        running = max(running, min(1.0, p * (len(made) - rank)))
        corrected[i] = running
    return corrected


def weights(clusters: int, language: str, resampling: Resampling) -> Iterator[Floats]:
    """How often each cluster was drawn, as (at most R, P) blocks that together are (R, P)."""
    for start, rows in _blocks(clusters, resampling.resamples):
        yield _weights(clusters, rows, start, language, resampling.seed)


@lru_cache(maxsize=2)  # the metrics and models of one language follow each other and share their draws
def _weights(clusters: int, rows: int, start: int, language: str, seed: int) -> Floats:
    drawn = _generator(seed, "bootstrap", language, start).integers(0, clusters, size=(rows, clusters))
    drawn += np.arange(rows)[:, None] * clusters
    counts = np.bincount(drawn.ravel(), minlength=rows * clusters).reshape(rows, clusters).astype(np.float64)
    counts.setflags(write=False)
    return counts


@lru_cache(maxsize=2)
def _coins(clusters: int, rows: int, start: int, language: str, seed: int) -> Floats:
    coins: Floats = _generator(seed, "swap", language, start).choice(np.array([-1.0, 1.0]), size=(rows, clusters))
    coins.setflags(write=False)
    return coins


def _blocks(clusters: int, resamples: int) -> Iterator[tuple[int, int]]:
    rows = max(1, _CELLS // clusters)
    for start in range(0, resamples, rows):
        yield start, min(rows, resamples - start)


def _bootstrap(columns: Floats, language: str, resampling: Resampling) -> Floats:
    """(P, K) columns -> (R, K) sums over drawn clusters."""
    return np.concatenate([block @ columns for block in weights(len(columns), language, resampling)])


def _swap_labels(a: Ratio, b: Ratio, language: str, resampling: Resampling) -> Floats:
    """(R,) differences after swapping the labels of each cluster by a coin: sums are (total ± signed gap) / 2."""
    gap = np.stack([a.numerator - b.numerator, a.denominator - b.denominator], axis=1)  # (P, 2)
    total = np.array([(a.numerator + b.numerator).sum(), (a.denominator + b.denominator).sum()])
    blocks = _blocks(len(gap), resampling.resamples)
    signed = np.concatenate(
        [_coins(len(gap), rows, start, language, resampling.seed) @ gap for start, rows in blocks]
    )  # (R, 2)
    first, second = (total + signed) / 2, (total - signed) / 2
    return a.points(first[:, 0], first[:, 1]) - b.points(second[:, 0], second[:, 1])


def _common(a: Ratio, b: Ratio) -> tuple[Ratio, Ratio]:
    if a.clusters == b.clusters:
        return a, b
    places = {name: i for i, name in enumerate(b.clusters)}
    pairs = [(i, places[name]) for i, name in enumerate(a.clusters) if name in places]
    left, right = [i for i, _ in pairs], [j for _, j in pairs]
    names = tuple(a.clusters[i] for i in left)
    return (
        a._replace(clusters=names, numerator=a.numerator[left], denominator=a.denominator[left]),
        b._replace(clusters=names, numerator=b.numerator[right], denominator=b.denominator[right]),
    )


def _nothing(status: str) -> Estimate:
    return Estimate(None, None, None, None, 0, status)


def _generator(*key: object) -> np.random.Generator:
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))
