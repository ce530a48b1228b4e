"""Agreement of two scorers: against SciPy, scikit-learn and loops over the same resampled prompts."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from detox_ray.measure.agreement import ScorerAgreement, agreement, no_agreement
from detox_ray.measure.resampling import Resampling, percentile_interval, weights

FEW = Resampling(seed=0, resamples=100, confidence=0.9)


def made(a: np.ndarray, b: np.ndarray, prompts: np.ndarray, threshold: float = 0.5) -> ScorerAgreement:
    return agreement(a, b, prompts, "fr", FEW, scorer="s", other="o", threshold=threshold)


def drawn(n: int, decimals: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values of two scorers, and prompts of four completions, in no order."""
    rng = np.random.default_rng(0)
    a = rng.random(n)
    b = 0.5 * a + 0.5 * rng.random(n)
    return np.round(a, decimals), np.round(b, decimals), rng.permutation(n) % (n // 4)


@pytest.mark.parametrize(("n", "decimals"), [(400, 1), (2000, 9)])
def test_values_are_those_of_scipy_and_sklearn_with_and_without_ties(n: int, decimals: int) -> None:
    a, b, prompts = drawn(n, decimals)
    row = made(a, b, prompts)
    assert row.spearman == pytest.approx(stats.spearmanr(a, b).statistic)
    assert row.kappa == pytest.approx(metrics.cohen_kappa_score(a >= 0.5, b >= 0.5))
    assert (row.scorer, row.other, row.language, row.n, row.status) == ("s", "o", "fr", n, "ok")


def test_kappa_by_hand_counts_the_threshold_as_toxic() -> None:
    a, b = np.array([0.5, 0.6, 0.7, 0.1, 0.2, 0.3]), np.array([0.9, 0.5, 0.1, 0.2, 0.3, 0.4])
    # agree on 5 of 6; by chance 1/2 * 1/3 + 1/2 * 2/3 = 1/2
    assert made(a, b, np.arange(6)).kappa == pytest.approx((5 / 6 - 1 / 2) / (1 / 2))


def test_intervals_equal_loops_over_the_same_resampled_prompts() -> None:
    a, b, prompts = drawn(80, 1)
    correlations, kappas = [], []
    for counts in np.concatenate(list(weights(20, "fr", FEW))):
        rows = np.concatenate([np.flatnonzero(prompts == p) for p in range(20) for _ in range(int(counts[p]))])
        correlations.append(stats.spearmanr(a[rows], b[rows]).statistic)
        kappas.append(metrics.cohen_kappa_score(a[rows] >= 0.5, b[rows] >= 0.5))
    row = made(a, b, prompts)
    expected = percentile_interval(np.array(correlations), 0.9)
    assert (row.spearman_low, row.spearman_high) == pytest.approx(expected, abs=1e-6)
    assert (row.kappa_low, row.kappa_high) == pytest.approx(percentile_interval(np.array(kappas), 0.9))


def test_binned_interval_of_spearman_is_within_a_thousandth_of_a_loop_without_bins() -> None:
    a, b, prompts = drawn(3000, 9)
    places = [np.flatnonzero(prompts == p) for p in range(750)]
    loop = []
    for counts in np.concatenate(list(weights(750, "fr", FEW))):
        rows = np.concatenate([places[p] for p in np.repeat(np.arange(750), counts.astype(int))])
        loop.append(stats.spearmanr(a[rows], b[rows]).statistic)
    row = made(a, b, prompts)
    assert (row.spearman_low, row.spearman_high) == pytest.approx(percentile_interval(np.array(loop), 0.9), abs=0.001)


def test_the_same_scores_agree_wholly_and_reversed_ones_not_at_all() -> None:
    a = np.linspace(0, 1, 40)
    same, reversed_ = made(a, a, np.arange(40)), made(a, 1 - a, np.arange(40))
    assert (same.spearman, same.spearman_low, same.kappa, same.kappa_low) == pytest.approx((1, 1, 1, 1), abs=1e-6)
    assert (reversed_.spearman, reversed_.kappa) == pytest.approx((-1, -1))


def test_names_and_order_of_prompts_do_not_matter() -> None:
    a, b, prompts = drawn(80, 9)
    named = made(a, b, np.array([f"fr-{p:05d}" for p in prompts]))
    assert named == made(a, b, prompts)


def test_a_constant_scorer_has_no_rank_correlation_and_a_kappa_of_chance() -> None:
    a, b, prompts = drawn(40, 9)
    row = made(np.full(40, 0.9), b, prompts)
    assert (row.spearman, row.spearman_low, row.kappa, row.status) == (None, None, 0, "constant_scores")
    unanimous = made(a / 4, b / 4, prompts)  # all below the threshold: chance explains all of it
    assert unanimous.kappa is None and unanimous.spearman is not None and unanimous.status == "ok"


def test_nothing_in_common_and_a_single_prompt() -> None:
    empty = np.empty(0)
    assert made(empty, empty, np.empty(0, dtype=np.int64)) == no_agreement("s", "o", "fr", "no_common_scores")
    one = made(np.array([0.1, 0.9]), np.array([0.2, 0.8]), np.array([3, 3]))
    assert (one.spearman, one.kappa) == pytest.approx((1, 1))
    assert (one.spearman_low, one.kappa_high, one.status) == (None, None, "ok")
