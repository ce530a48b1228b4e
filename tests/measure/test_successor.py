"""One scorer in the place of another: numbers against SciPy and scikit-learn, thresholds against plain search."""

from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import cohen_kappa_score, precision_score

from detox_ray.measure.resampling import Resampling
from detox_ray.measure.spearman import numbered
from detox_ray.measure.successor import PairedScores, Statistic, compare, density, reliability

RESAMPLING = Resampling(seed=0, resamples=400, confidence=0.95)
N = 700


@pytest.fixture(scope="module")
def pairs() -> PairedScores:
    """Return texts whose values by B are A's, bent and blurred."""
    random = np.random.default_rng(3)
    truth = random.beta(0.6, 1.2, N)
    values = np.clip(truth + random.normal(0, 0.08, N), 0, 1).round(3)
    other = np.clip(truth**1.7 + random.normal(0, 0.08, N), 0, 1).round(3)
    labels = random.random(N) < truth
    return PairedScores(values, other, numbered(np.arange(N)), labels)


@pytest.fixture(scope="module")
def rows(pairs: PairedScores) -> dict[tuple[str, float | None], Statistic]:
    found = compare(pairs, "en", [0.3, 0.5], RESAMPLING)
    assert {row.status for row in found} == {"ok"} and {row.n for row in found} == {N}
    return {(row.statistic, row.threshold): row for row in found}


def near(row: Statistic, expected: Any) -> bool:
    return row.value == pytest.approx(float(expected), abs=1e-12)


def test_values_are_those_of_scipy_and_scikit_learn(
    pairs: PairedScores, rows: dict[tuple[str, float | None], Statistic]
) -> None:
    values, other, labels = pairs.values, pairs.other, pairs.labels
    assert near(rows["spearman", None], stats.spearmanr(values, other).statistic)
    assert near(rows["mean_difference", None], np.mean(other - values))
    for threshold in (0.3, 0.5):
        assert near(rows["kappa", threshold], cohen_kappa_score(values >= threshold, other >= threshold))
        assert near(rows["precision", threshold], precision_score(labels, values >= threshold))
        assert near(rows["share", threshold], (values >= threshold).mean())


def test_intervals_of_means_and_correlation_are_about_scipys(
    pairs: PairedScores, rows: dict[tuple[str, float | None], Statistic]
) -> None:
    difference = pairs.other - pairs.values
    expected = stats.t.interval(0.95, N - 1, difference.mean(), stats.sem(difference))
    row = rows["mean_difference", None]
    assert (row.ci_low, row.ci_high) == pytest.approx(expected, abs=0.003)
    low, high = stats.bootstrap(
        (pairs.values, pairs.other),
        lambda a, b: stats.spearmanr(a, b).statistic,
        paired=True,
        vectorized=False,
        n_resamples=400,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert (rows["spearman", None].ci_low, rows["spearman", None].ci_high) == pytest.approx((low, high), abs=0.01)


@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_thresholds_are_those_of_a_plain_search(
    threshold: float, pairs: PairedScores, rows: dict[tuple[str, float | None], Statistic]
) -> None:
    values, other, labels = pairs.values, pairs.other, pairs.labels
    assert labels is not None
    levels = sorted(set(other), reverse=True)
    share = (values >= threshold).mean()
    nearest = min(levels, key=lambda level: abs((other >= level).mean() - share))
    row = rows["same_share_threshold", threshold]
    assert row.value == nearest and row.ci_low is not None and row.ci_low < nearest < (row.ci_high or 0)
    precision = labels[values >= threshold].mean()
    able = [level for level in levels if labels[other >= level].mean() >= precision - 1e-12]
    assert rows["same_precision_threshold", threshold].value == min(able)


def test_the_interval_of_a_threshold_covers_the_truth_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        values, other = random.random(300), random.random(300) ** 2  # a share of 0.5 is B's 0.25
        (row,) = (
            row
            for row in compare(PairedScores(values, other, numbered(np.arange(300))), "en", [0.5], RESAMPLING)
            if row.statistic == "same_share_threshold"
        )
        assert row.ci_low is not None and row.ci_high is not None
        covered += row.ci_low <= 0.25 <= row.ci_high
    assert covered >= 53


def test_reliability_is_scikit_learns_curve_and_the_density_counts_every_text(pairs: PairedScores) -> None:
    assert pairs.labels is not None
    other = np.clip(pairs.other + 0.0005, 0, 1)  # none on the border of two bins, which scikit-learn counts below
    truth, mean = calibration_curve(pairs.labels, other, n_bins=10)
    bins = reliability(pairs.labels.astype(float), other)
    assert [point.value for point in bins] == pytest.approx(list(truth))
    assert [point.other for point in bins] == pytest.approx(list(mean))
    grid = density(pairs.values, pairs.other)
    assert grid.sum() == N
    assert grid[24, :].sum() == (pairs.other >= 0.96).sum() and grid[:, 24].sum() == (pairs.values >= 0.96).sum()


def test_what_cannot_be_said_has_a_reason() -> None:
    none = np.empty(0)
    (row,) = compare(PairedScores(none, none, numbered(none)), "fr", [0.5], RESAMPLING)
    assert (row.status, row.value, row.n) == ("no_common_scores", None, 0)
    flat = PairedScores(np.full(4, 0.1), np.array([0.1, 0.2, 0.3, 0.4]), numbered(np.arange(4)))
    status = {row.statistic: row.status for row in compare(flat, "fr", [0.5], RESAMPLING)}
    assert status == {
        "spearman": "constant_scores",
        "mean_difference": "ok",
        "kappa": "none_at_threshold",
        "share": "ok",
        "other_share": "ok",
        "same_share_threshold": "none_at_threshold",
        "precision": "no_labels",
        "same_precision_threshold": "no_labels",
    }
