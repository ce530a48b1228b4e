"""The statistics primitive against independent calculation, its degenerate cases and its long-run behaviour."""

import itertools

import numpy as np
import pytest
from scipy import stats

from detox_ray.measure.statistics import (
    Ratio,
    Resampling,
    difference,
    estimate,
    holm,
    macro,
    percentile_interval,
    permutation_p,
    ratio,
    weights,
    without_value,
)
from detox_ray.tables import OK

FEW = Resampling(seed=0, resamples=500, confidence=0.95)


def mean_of(values: np.ndarray, prefix: str = "p") -> Ratio:
    return ratio([f"{prefix}{i:04}" for i in range(len(values))], values, np.ones(len(values)))


def test_value_is_the_ratio_of_sums_not_the_mean_of_ratios() -> None:
    series = ratio(["a", "b"], np.array([1.0, 6.0]), np.array([1.0, 2.0]))
    assert estimate(series, "fr", FEW).value == pytest.approx(7 / 3)


def test_interval_equals_a_naive_loop_over_the_same_draws() -> None:
    rng = np.random.default_rng(1)
    series = ratio([f"{i:02}" for i in range(30)], rng.random(30) * 5, rng.integers(1, 9, 30))
    drawn = np.concatenate(list(weights(30, "fr", FEW)))
    looped = []
    for counts in drawn:
        picked = [i for i in range(30) for _ in range(int(counts[i]))]
        looped.append(sum(series.numerator[i] for i in picked) / sum(series.denominator[i] for i in picked))
    made = estimate(series, "fr", FEW)
    assert drawn.shape == (500, 30) and (drawn.sum(axis=1) == 30).all()
    assert (made.low, made.high) == pytest.approx(percentile_interval(np.array(looped), 0.95))


def test_interval_agrees_with_scipys_percentile_bootstrap() -> None:
    values = np.random.default_rng(2).beta(2, 5, 200)
    ours = estimate(mean_of(values), "fr", Resampling(0, 8000, 0.9))
    theirs = stats.bootstrap((values,), np.mean, n_resamples=8000, confidence_level=0.9, method="percentile", rng=3)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.002)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.002)


def test_blocks_of_a_large_bootstrap_are_not_copies_of_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detox_ray.measure.resampling._CELLS", 50)
    blocks = list(weights(10, "blocks", Resampling(0, 12, 0.95)))
    assert [len(block) for block in blocks] == [5, 5, 2]
    assert not np.array_equal(blocks[0], blocks[1])


def test_result_depends_on_neither_row_order_nor_earlier_work() -> None:
    values = np.random.default_rng(3).random(20)
    names = [f"p{i:02}" for i in range(20)]
    first = estimate(ratio(names, values, np.ones(20)), "fr", FEW)
    estimate(mean_of(np.arange(7.0)), "de", FEW)
    again = estimate(ratio(names[::-1], values[::-1], np.ones(20)), "fr", FEW)
    assert first[:6] == again[:6]
    assert estimate(mean_of(values), "de", FEW).low != first.low


def test_difference_is_paired_by_name_on_common_clusters() -> None:
    a = ratio(["x", "y", "z"], np.array([1.0, 2.0, 9.0]), np.ones(3))
    b = ratio(["w", "y", "x"], np.array([7.0, 1.5, 0.5]), np.ones(3))
    made = difference(a, b, "fr", FEW)
    assert (made.value, made.low, made.high, made.n) == (0.5, 0.5, 0.5, 2)  # every pair differs by the same


def test_permutation_p_equals_all_label_swaps_of_a_ratio() -> None:
    rng = np.random.default_rng(4)
    names = [f"t{i}" for i in range(8)]
    a = ratio(names, rng.random(8) * 50, rng.integers(5, 30, 8), transform=np.exp)
    b = ratio(names, rng.random(8) * 60, rng.integers(5, 30, 8), transform=np.exp)

    def gap(swapped: tuple[int, ...]) -> float:
        pairs = [(b, a) if swap else (a, b) for swap in swapped]
        left = [(p.numerator[i], p.denominator[i]) for i, (p, _) in enumerate(pairs)]
        right = [(q.numerator[i], q.denominator[i]) for i, (_, q) in enumerate(pairs)]
        first, second = (np.exp(sum(n for n, _ in side) / sum(d for _, d in side)) for side in (left, right))
        return float(first - second)

    every = [gap(swapped) for swapped in itertools.product((0, 1), repeat=8)]
    exact = np.mean(np.abs(every) >= abs(every[0]) - 1e-12)
    made = difference(a, b, "fr", Resampling(0, 20_000, 0.95))
    assert made.value == pytest.approx(every[0])
    assert made.p_value == pytest.approx(exact, abs=0.015)


def test_p_value_is_never_zero_and_one_where_nothing_differs() -> None:
    assert permutation_p(5.0, np.zeros(99)) == 1 / 100
    same = mean_of(np.random.default_rng(5).random(10))
    made = difference(same, same, "fr", FEW)
    assert (made.value, made.low, made.high, made.p_value) == (0, 0, 0, 1)


@pytest.mark.parametrize("values", [[0.25], [0.25, 0.25, 0.25]])
def test_degenerate_clusters_give_numbers_or_null_never_nan(values: list[float]) -> None:
    made = estimate(mean_of(np.array(values)), "fr", FEW)
    bounds = (None, None) if len(values) == 1 else (0.25, 0.25)
    assert (made.value, made.low, made.high, made.n, made.status) == (0.25, *bounds, len(values), OK)


def test_absence_is_a_status() -> None:
    nothing, something = without_value("failed"), mean_of(np.ones(3))
    assert estimate(nothing, "fr", FEW)[:6] == (None, None, None, None, 0, "failed")
    assert difference(something, nothing, "fr", FEW).status == "failed"
    assert difference(something, mean_of(np.ones(3), "q"), "fr", FEW).status == "no_common_prompts"
    huge = ratio(["a", "b"], np.array([1e4, 1e4]), np.ones(2), transform=np.exp)
    assert estimate(huge, "fr", FEW)[:6] == (None, None, None, None, 0, "not_finite")


def test_macro_is_the_mean_of_languages_with_value_and_counts_them() -> None:
    rng = np.random.default_rng(6)
    series = {"fr": rng.random(30), "de": rng.random(50) * 0.2}
    made = [estimate(mean_of(v), code, FEW) for code, v in series.items()]
    mean = macro([*made, estimate(without_value("unsupported_language"), "hi", FEW)], 0.95)
    assert mean.value == pytest.approx((series["fr"].mean() + series["de"].mean()) / 2)
    assert mean.n == 2
    spread = np.sqrt(sum(v.var() / len(v) for v in series.values())) / 2  # languages are independent
    assert mean.low is not None and mean.high is not None
    assert (mean.high - mean.low) / (2 * 1.96) == pytest.approx(spread, rel=0.12)
    assert macro([], 0.95).status == "no_language_with_value"
    single = estimate(mean_of(np.array([0.5])), "it", FEW)
    assert macro([*made, single], 0.95)[1:3] == (None, None)  # no interval for one prompt, none for the mean


def test_macro_test_finds_what_no_language_shows_alone() -> None:
    rng = np.random.default_rng(7)
    gaps = []
    for code in ("ar", "cs", "de", "en", "es", "fr", "hi", "id"):
        base = rng.random(12)
        gaps.append(difference(mean_of(base - 0.06 + rng.normal(0, 0.2, 12)), mean_of(base), code, FEW))
    mean = macro(gaps, 0.95)
    alone = [p for p in holm([gap.p_value for gap in gaps]) if p is not None]
    assert mean.p_value is not None and mean.p_value < 0.01 < 0.05 < min(alone)


def test_holm_on_a_worked_example_with_a_language_left_out() -> None:
    assert holm([0.01, 0.04, None, 0.03]) == [pytest.approx(0.03), pytest.approx(0.06), None, pytest.approx(0.06)]
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    """80 prompts of 5 samples that share half of their variance; 600 worlds: 95 % nominal, within 91 to 98 %."""
    rng = np.random.default_rng(8)
    quick, covered, naive = Resampling(0, 300, 0.95), 0, 0
    for _ in range(600):
        samples = 0.3 + rng.normal(0, 0.1, (80, 1)) + rng.normal(0, 0.1, (80, 5))
        series = ratio([f"{i:02}" for i in range(80)], samples.sum(axis=1), np.full(80, 5))
        made = estimate(series, "fr", quick)
        assert made.low is not None and made.high is not None
        covered += made.low <= 0.3 <= made.high
        naive += abs(samples.mean() - 0.3) <= 1.96 * samples.std() / 20
    assert 0.91 <= covered / 600 <= 0.98
    assert naive / 600 < 0.85  # what resampling single completions would give


def test_test_finds_nothing_where_nothing_is() -> None:
    """400 pairs without a difference: at most 5 % below 0.05, plus three standard errors of the simulation."""
    rng = np.random.default_rng(9)
    quick, found = Resampling(0, 300, 0.95), 0
    for _ in range(400):
        base = rng.beta(1, 4, 40)
        a, b = (mean_of(base + rng.normal(0, 0.1, 40)) for _ in range(2))
        p = difference(a, b, "fr", quick).p_value
        found += p is not None and p <= 0.05
    assert found / 400 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
