"""Statistics of the replacement of one scorer by another: agreement, and corresponding thresholds.

A is the scorer to be replaced (such as archived Perspective scores), and B the new one. Everything is computed per
language, on texts that both scored. A bootstrap over clusters of texts gives percentile intervals. For the interval of
a threshold, every resample repeats the search, with B's values ranked into at most 512 bins (spearman.py).

    spearman                   whether both rank texts alike
    mean_difference            mean of B - A
    kappa                      whether both decide alike at the same threshold, beyond chance
    share, other_share         share of texts at or above the threshold, by A and by B
    same_share_threshold       B's threshold at which the same share of texts is toxic as at A's
    precision                  precision of A's decisions, if texts have labels
    same_precision_threshold   B's lowest threshold with decisions at least as precise as A's

Shapes: N texts, P clusters, R resamples, V bins of B's values.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detox_ray.measure.agreement import CONSTANT, NO_COMMON_SCORES, cohen_kappa
from detox_ray.measure.resampling import Floats, Resampling, weights
from detox_ray.measure.spearman import NOTHING, Bounded, Counts, Whole, binned, bounds, histogram, spearman
from detox_ray.storage.tables import OK

NO_LABELS = "no_labels"
NONE_AT_THRESHOLD = "none_at_threshold"  # A calls no text toxic; for kappa, both decide the same way about everything
NOT_REACHED = "not_reached"  # B has no threshold with decisions that are as precise

STATISTICS = (
    "spearman",
    "mean_difference",
    "kappa",
    "share",
    "other_share",
    "same_share_threshold",
    "precision",
    "same_precision_threshold",
)
BINS = 10  # bins of the reliability figure
GRID = 25  # cells along each side of the scatter figure


class Statistic(NamedTuple):
    """A statistic of two scorers in one language."""

    language: str
    statistic: str  # one of STATISTICS
    threshold: float | None  # A's threshold, if the statistic has one
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int  # number of texts
    status: str  # "ok", or why there is no value


class PairedScores(NamedTuple):
    """The N texts of one language to which both scorers gave a value."""

    values: Floats  # (N,) A's values
    other: Floats  # (N,) B's values
    cluster: Whole  # (N,) clusters, from `numbered`
    labels: NDArray[np.bool_] | None = None  # (N,) whether people call a text toxic; None: unknown


def compare(pairs: PairedScores, language: str, thresholds: Sequence[float], resampling: Resampling) -> list[Statistic]:
    """Return all statistics of one language."""
    n = len(pairs.values)

    def row(name: str, threshold: float | None, bounded: Bounded, without: str) -> Statistic:
        return Statistic(language, name, threshold, *bounded, n, OK if bounded.value is not None else without)

    if not n:
        return [Statistic(language, "spearman", None, *NOTHING, 0, NO_COMMON_SCORES)]
    values, other, cluster = pairs.values, pairs.other, pairs.cluster
    draw = _Draws(cluster, language, resampling)
    rows = [
        row("spearman", None, spearman(values, other, cluster, language, resampling), CONSTANT),
        row("mean_difference", None, draw.mean(other - values), NO_COMMON_SCORES),
    ]
    search = _Search(pairs, draw)
    for threshold in thresholds:
        kappa = cohen_kappa(values >= threshold, other >= threshold, cluster, language, resampling)
        rows += [
            row("kappa", threshold, kappa, NONE_AT_THRESHOLD),
            row("share", threshold, draw.mean((values >= threshold).astype(np.float64)), NO_COMMON_SCORES),
            row("other_share", threshold, draw.mean((other >= threshold).astype(np.float64)), NO_COMMON_SCORES),
            row("same_share_threshold", threshold, search.same_share(threshold), NONE_AT_THRESHOLD),
        ]
        if pairs.labels is None:
            rows.append(row("precision", threshold, NOTHING, NO_LABELS))
            rows.append(row("same_precision_threshold", threshold, NOTHING, NO_LABELS))
            continue
        rows.append(row("precision", threshold, search.precision(threshold), NONE_AT_THRESHOLD))
        rows.append(row("same_precision_threshold", threshold, search.same_precision(threshold), NOT_REACHED))
    return rows


class ReliabilityBin(NamedTuple):
    """The texts with B's value in one tenth of [0, 1]."""

    other: float  # mean of B's values
    value: float  # mean of A's values
    n: int


def reliability(values: Floats, other: Floats) -> list[ReliabilityBin]:
    """Return A's mean value by tenths of B's values. If they lie on the diagonal, B needs no calibration."""
    tenth = np.minimum((other * BINS).astype(np.int64), BINS - 1)
    bins = []
    for number in np.unique(tenth):
        inside = tenth == number
        bins.append(ReliabilityBin(float(other[inside].mean()), float(values[inside].mean()), int(inside.sum())))
    return bins


def density(values: Floats, other: Floats) -> NDArray[np.int64]:
    """Return the number (GRID, GRID) of texts in each cell. Rows are B's values, columns A's."""
    cells = [np.minimum((side * GRID).astype(np.int64), GRID - 1) for side in (other, values)]
    return np.bincount(cells[0] * GRID + cells[1], minlength=GRID * GRID).reshape(GRID, GRID).astype(np.int64)


class _Draws:
    """Resamples of the clusters of one language."""

    def __init__(self, cluster: Whole, language: str, resampling: Resampling):
        self.cluster, self._language, self._resampling = cluster, language, resampling
        self._sizes = np.bincount(cluster).astype(np.float64)

    def mean(self, of_text: Floats) -> Bounded:
        """Return the mean of N numbers (N,)."""
        sums = np.bincount(self.cluster, of_text)
        return self.bounded(float(of_text.mean()), lambda drawn: (drawn @ sums) / (drawn @ self._sizes))

    def bounded(self, value: float, statistic: Callable[[Floats], Floats]) -> Bounded:
        """Return a value with its interval. ``statistic`` maps weights (R, P) to values (R,), NaN if undefined."""
        clusters = len(self._sizes)
        if np.isnan(value):
            return NOTHING
        if clusters == 1:
            return Bounded(value, None, None)
        blocks = weights(clusters, self._language, self._resampling)
        draws = np.concatenate([statistic(block) for block in blocks])
        return Bounded(value, *bounds(draws, self._resampling.confidence))


class _Search:
    """The search for B's thresholds."""

    def __init__(self, pairs: PairedScores, draws: _Draws):
        self._pairs, self._draws = pairs, draws
        self._levels, self._rank = np.unique(pairs.other, return_inverse=True)  # B's values, ascending
        bins = binned(pairs.other)
        size = int(bins.max()) + 1
        self._lowest = np.full(size, np.inf)  # (V,) lowest value of each bin: the highest threshold that it passes
        np.minimum.at(self._lowest, bins, pairs.other)
        self._all = histogram(draws.cluster, bins, size)  # (P, V)
        self._toxic: Counts | None = None
        if pairs.labels is not None:
            toxic_bins = bins[pairs.labels]
            flat = np.bincount(draws.cluster[pairs.labels] * size + toxic_bins, minlength=self._all.size)
            self._toxic = flat.reshape(self._all.shape).astype(np.float32)

    def same_share(self, threshold: float) -> Bounded:
        """Return B's threshold with the share of texts closest to A's; of two that are equally close, the higher."""
        flagged = (self._pairs.values >= threshold).astype(np.float64)
        if not flagged.any():
            return NOTHING
        counts = np.bincount(self._rank)[None, :].astype(np.float64)
        value = float(_nearest(counts, np.array([flagged.sum()]), self._levels)[0])
        of_cluster = np.bincount(self._draws.cluster, flagged)
        return self._draws.bounded(
            value, lambda drawn: _nearest(drawn.astype(np.float32) @ self._all, drawn @ of_cluster, self._lowest)
        )

    def precision(self, threshold: float) -> Bounded:
        """Return the share of texts labelled toxic among those that A calls toxic."""
        hits, flagged = self._flagged(threshold)
        if not flagged.sum():
            return NOTHING
        with np.errstate(invalid="ignore"):
            return self._draws.bounded(
                float(hits.sum() / flagged.sum()), lambda drawn: (drawn @ hits) / (drawn @ flagged)
            )

    def same_precision(self, threshold: float) -> Bounded:
        """Return B's lowest threshold with decisions at least as precise as A's."""
        hits, flagged = self._flagged(threshold)
        assert self._toxic is not None and self._pairs.labels is not None
        if not flagged.sum():
            return NOTHING
        counts = np.bincount(self._rank)[None, :].astype(np.float64)
        toxic = np.bincount(self._rank, self._pairs.labels, minlength=len(self._levels))[None, :]
        value = float(_lowest(toxic, counts, np.array([hits.sum() / flagged.sum()]), self._levels)[0])
        toxic_bins, all_bins, levels = self._toxic, self._all, self._lowest

        def of_draws(drawn: Floats) -> Floats:
            with np.errstate(invalid="ignore"):
                wanted = (drawn @ hits) / (drawn @ flagged)
            return _lowest(drawn.astype(np.float32) @ toxic_bins, drawn.astype(np.float32) @ all_bins, wanted, levels)

        return self._draws.bounded(value, of_draws)

    def _flagged(self, threshold: float) -> tuple[Floats, Floats]:
        """Return, per cluster (P,), the texts that A calls toxic: those of them labelled toxic, and all of them."""
        assert self._pairs.labels is not None
        flagged = self._pairs.values >= threshold
        clusters = int(self._draws.cluster.max()) + 1
        hits, all_flagged = np.zeros(clusters), np.zeros(clusters)
        np.add.at(hits, self._draws.cluster, flagged & self._pairs.labels)
        np.add.at(all_flagged, self._draws.cluster, flagged)
        return hits, all_flagged


def _nearest(counts: Counts, wanted: Floats, levels: Floats) -> Floats:
    """Return the level (R,) above which counts (R, V) sum to the number closest to ``wanted`` (R,); NaN if it is 0."""
    above = np.cumsum(counts[:, ::-1], axis=1, dtype=np.float64)  # in descending order of levels
    place = np.abs(above - wanted[:, None]).argmin(axis=1)
    found: Floats = np.where(wanted > 0, levels[::-1][place], np.nan)
    return found


def _lowest(toxic: Counts, counts: Counts, wanted: Floats, levels: Floats) -> Floats:
    """Return the lowest level (R,) above which the share of toxic texts is at least ``wanted`` (R,); NaN if none."""
    hits = np.cumsum(toxic[:, ::-1], axis=1, dtype=np.float64)
    above = np.cumsum(counts[:, ::-1], axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        able = hits / above >= wanted[:, None] - 1e-12  # in descending order of levels, so the last one is the lowest
    last = able.shape[1] - 1 - able[:, ::-1].argmax(axis=1)
    found: Floats = np.where(able.any(axis=1), levels[::-1][last], np.nan)
    return found
