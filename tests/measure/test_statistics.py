"""The statistics against independent calculation, and their degenerate cases."""

import itertools

import numpy as np
import pytest
from scipy import stats

from detox_ray.measure.resampling import (
    Spread,
    bca_interval,
    coins,
    detectable,
    generator,
    percentile_interval,
    permutation_p,
    weights,
)
from detox_ray.measure.series import swapped
from detox_ray.measure.statistics import (
    Ratio,
    Resampling,
    benjamini_hochberg,
    difference,
    estimate,
    holm,
    macro,
    quantile,
    ratio,
    seeds,
    without_value,
)
from detox_ray.storage.tables import OK

FEW = Resampling(seed=0, resamples=500, confidence=0.95)
BCA = FEW._replace(interval="bca")


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


def test_benjamini_hochberg_equals_scipys_over_the_tests_that_were_made() -> None:
    p = [0.01, 0.04, 0.03, 0.005, 0.8, 0.04]
    made = benjamini_hochberg([*p[:2], None, *p[2:]])
    assert made.pop(2) is None
    assert made == pytest.approx(stats.false_discovery_control(p).tolist())
    assert benjamini_hochberg([None]) == [None] and benjamini_hochberg([]) == []


def test_too_few_resamples_leave_holm_a_floor_that_no_language_passes() -> None:
    smallest = permutation_p(1.0, np.zeros(100))
    assert holm([smallest] * 17)[0] == pytest.approx(17 / 101)
    assert holm([permutation_p(1.0, np.zeros(339))] * 17)[0] == pytest.approx(0.05)


def bca_of(values: np.ndarray, resampling: Resampling) -> tuple[float | None, float | None]:
    made = estimate(mean_of(values), "fr", resampling)
    return made.low, made.high


def test_bca_agrees_with_scipys() -> None:
    values = np.random.default_rng(2).lognormal(0, 1, 60)  # skewed: BCa and percentile differ
    many = Resampling(0, 20_000, 0.95, "bca")
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=3).confidence_interval
    assert bca_of(values, many) == pytest.approx((theirs.low, theirs.high), abs=0.02)
    assert bca_of(values, many._replace(interval="percentile"))[1] < theirs.high - 0.04


def test_bca_of_a_macro_mean_agrees_with_scipys_of_several_samples() -> None:
    rng = np.random.default_rng(4)
    samples = (rng.lognormal(0, 1, 40), rng.lognormal(0, 0.8, 70))
    many = Resampling(0, 20_000, 0.95, "bca")
    made = macro([estimate(mean_of(s), code, many) for s, code in zip(samples, ("fr", "de"), strict=True)], 0.95)
    theirs = stats.bootstrap(
        samples, lambda a, b, axis: (a.mean(axis) + b.mean(axis)) / 2, n_resamples=20_000, method="BCa", rng=5
    ).confidence_interval
    assert (made.low, made.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_bca_gives_percentile_bounds_where_it_is_undefined() -> None:
    assert bca_of(np.full(9, 0.1), BCA) == pytest.approx((0.1, 0.1))  # no spread, so no acceleration
    draws = np.linspace(1, 2, 101)
    one_sided = bca_interval(draws, 0.5, np.array([-1.0, 1.0]), 0.9)  # every draw above the value: bias is infinite
    assert one_sided == pytest.approx(percentile_interval(draws, 0.9))


def test_ratio_to_the_parent_equals_a_naive_loop_and_is_none_where_the_parent_is_zero() -> None:
    rng = np.random.default_rng(11)
    b = ratio([f"{i:02}" for i in range(30)], rng.random(30) * 60, rng.integers(5, 30, 30), transform=np.exp)
    a = b._replace(numerator=b.numerator * 1.1 + rng.random(30))
    drawn = np.concatenate(list(weights(30, "fr", FEW))).astype(int)
    looped = [
        np.exp((a.numerator @ row) / (a.denominator @ row)) / np.exp((b.numerator @ row) / (b.denominator @ row))
        for row in drawn
    ]
    made = difference(a, b, "fr", FEW)
    assert made.ratio == pytest.approx(a.exact() / b.exact())
    assert (made.ratio_low, made.ratio_high) == pytest.approx(percentile_interval(np.array(looped), 0.95))
    by_bca = difference(a, b, "fr", BCA)
    assert by_bca.ratio_low == pytest.approx(made.ratio_low, abs=0.01) and by_bca.ratio_low != made.ratio_low
    harmless = mean_of(np.zeros(30))
    none = difference(mean_of(np.ones(30)), harmless, "fr", FEW)
    assert (none.value, none.ratio, none.ratio_low, none.ratio_high) == (1, None, None, None)
    rare = mean_of(np.eye(30)[0])  # one resample in three has no toxic prompt: the ratio has a value, its ends do not
    made = difference(mean_of(np.full(30, 0.5)), rare, "fr", FEW)
    assert made.ratio == pytest.approx(15) and (made.ratio_low, made.ratio_high) == (None, None)


def test_macro_ratio_is_that_of_the_means() -> None:
    pairs = {"fr": (0.2, 0.4), "de": (0.1, 0.8)}
    made = [difference(mean_of(np.full(5, a)), mean_of(np.full(5, b)), code, FEW) for code, (a, b) in pairs.items()]
    assert macro(made, 0.95).ratio == pytest.approx(0.3 / 1.2)


def test_detectable_difference_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(12)
    quick, base = Resampling(0, 400, 0.95), rng.random(150)
    found, asked = 0, []
    for _ in range(300):
        made = difference(mean_of(base + rng.normal(0.0, 0.3, 150)), mean_of(base), "fr", quick)
        assert made.detectable is not None
        asked.append(made.detectable)
    effect = float(np.mean(asked))
    assert effect == pytest.approx((1.96 + 0.8416) * 0.3 / np.sqrt(150), rel=0.03)
    for _ in range(300):
        made = difference(mean_of(base - effect + rng.normal(0.0, 0.3, 150)), mean_of(base), "fr", quick)
        found += made.high is not None and made.high < 0
    assert 0.74 <= found / 300 <= 0.86


def test_what_does_not_vary_has_no_detectable_difference() -> None:
    same = mean_of(np.full(4, 0.1))
    assert difference(same, same, "fr", FEW).detectable is None
    assert detectable(Spread(0.0, None, None), 0.95) is None


@pytest.mark.parametrize("midpoint", [False, True])
def test_quantile_equals_numpys_on_every_resample(midpoint: bool) -> None:
    rng = np.random.default_rng(13)
    cluster_of = rng.integers(0, 40, 700)
    values = np.round(rng.lognormal(3, 1, 700), 1)  # with ties; more values than bins
    names = [f"{i:02}" for i in range(40)]
    method = "midpoint" if midpoint else "linear"
    for q in (0.25, 0.5):
        series = quantile(names, cluster_of, values, q=q, midpoint=midpoint)
        assert series.exact() == pytest.approx(np.percentile(values, 100 * q, method=method), abs=1e-12)
        drawn = np.concatenate(list(weights(40, "fr", Resampling(0, 60, 0.95))))
        looped = [np.quantile(np.repeat(values, row[cluster_of].astype(int)), q, method=method) for row in drawn]
        assert series.under(drawn) == pytest.approx(looped, abs=1e-12)
        without = [np.quantile(values[cluster_of != i], q, method=method) for i in range(40)]
        assert series.left_out() == pytest.approx(without, abs=1e-12)


def test_median_takes_differences_ratios_and_rounding_as_a_ratio_does() -> None:
    rng = np.random.default_rng(14)
    names, cluster_of = [f"{i:02}" for i in range(30)], np.repeat(np.arange(30), 4)
    values = rng.lognormal(3, 0.5, 120)
    parent = quantile(names, cluster_of, values, decimals=2, midpoint=True)
    model = quantile(names, cluster_of, values * 1.25, decimals=2, midpoint=True)
    made = difference(model, parent, "fr", FEW)
    assert made.value == round(round(np.median(values) * 1.25, 2) - round(np.median(values), 2), 2)
    assert made.ratio == pytest.approx(1.25) and made.ratio_low == pytest.approx(made.ratio_high)
    assert made.low is not None and made.low > 0 and made.n == 30
    same = difference(parent, parent, "fr", BCA)
    assert (same.value, same.low, same.high, same.p_value) == (0, 0, 0, 1)


def test_label_swaps_of_a_median_equal_a_naive_loop() -> None:
    rng = np.random.default_rng(15)
    names = [f"{i}" for i in range(9)]
    of_a, of_b = np.repeat(np.arange(9), 3), np.repeat(np.arange(9), 2)
    a, b = rng.random(27), rng.random(18) + 0.1
    tossed = np.concatenate(list(coins(9, "fr", Resampling(0, 50, 0.95))))
    looped = []
    for row in tossed:
        first = np.concatenate([a[row[of_a] > 0], b[row[of_b] < 0]])
        second = np.concatenate([a[row[of_a] < 0], b[row[of_b] > 0]])
        looped.append(np.median(first) - np.median(second))
    assert swapped(quantile(names, of_a, a), quantile(names, of_b, b), tossed) == pytest.approx(looped)


def test_median_of_two_models_is_compared_on_prompts_that_both_have() -> None:
    a = quantile(["x", "empty", "y"], np.array([0, 0, 2, 2]), np.array([1.0, 2.0, 7.0, 8.0]))
    b = quantile(["y", "x", "z"], np.array([0, 1, 2]), np.array([5.0, 1.0, 100.0]))
    assert a.clusters == ("x", "y")
    made = difference(a, b, "fr", FEW)
    assert (made.value, made.n) == (4.5 - 3, 2)


def test_numbers_that_are_none_become_statuses_or_nulls() -> None:
    names = ["a", "b", "c"]
    broken = quantile(names, np.arange(3), np.array([1.0, np.nan, 2.0]))
    assert estimate(broken, "fr", FEW).status == "not_finite"
    assert estimate(mean_of(np.array([0.1, np.nan])), "fr", FEW).status == "not_finite"
    endless = quantile(names, np.arange(3), np.array([1.0, 2.0, np.inf]))  # the median is finite, its upper end is not
    assert estimate(endless, "fr", FEW)[:6] == (2.0, None, None, None, 3, OK)
    huge = ratio(names, np.array([1.0, 1.0, 2000.0]), np.ones(3), transform=np.exp)
    made = difference(huge, huge._replace(numerator=huge.numerator / 2), "fr", FEW)
    assert made.value is not None and made[1:3] == (None, None)  # draws overflow
    assert permutation_p(1.0, np.array([0.5, np.inf])) is None and permutation_p(1.0, np.array([np.nan])) is None
    one = difference(mean_of(np.array([0.5])), mean_of(np.array([0.25])), "fr", BCA)
    assert one[:7] == (0.25, None, None, None, 1, OK, 2.0) and one.detectable is None


def seed_values(rng: np.random.Generator, effects: np.ndarray, prompts: int) -> list[np.ndarray]:
    """Each seed's value per prompt: what the prompts share, the seed's own effect, and chance."""
    base = rng.normal(1, 0.2, prompts)
    return [base + effect + rng.normal(0, 0.05, prompts) for effect in effects]


def test_mean_over_seeds_equals_a_naive_loop_over_seeds_then_prompts() -> None:
    rng = np.random.default_rng(15)
    values, parent = seed_values(rng, np.array([-0.3, -0.2, -0.28]), 12), rng.normal(1, 0.2, 12)
    gaps = [difference(mean_of(model), mean_of(parent), "fr", FEW) for model in values]
    together = seeds(gaps, FEW)
    drawn_seeds = generator(FEW.seed, "seeds", 3).multinomial(2, [1 / 3] * 3, size=500)
    drawn_prompts = np.concatenate(list(weights(12, "fr", FEW)))
    draws, ratios = [], []
    for seed_counts, prompt_counts in zip(drawn_seeds, drawn_prompts, strict=True):
        picked = [i for i in range(12) for _ in range(int(prompt_counts[i]))]
        answers = [values[s][i] - parent[i] for s in range(3) for _ in range(int(seed_counts[s])) for i in picked]
        draws.append(sum(answers) / len(answers))
        ratios.append(1 + draws[-1] / (sum(parent[i] for i in picked) / 12))
    exact = [float(model.mean() - parent.mean()) for model in values]
    assert together.own is not None and together.own.draws == pytest.approx(np.array(draws))
    between = np.var(exact, ddof=1) / 3
    freedom = 2 * max(1, (np.var(draws, ddof=1) / between) ** 2)
    t = stats.t(freedom, loc=np.mean(exact), scale=np.std(draws, ddof=1))
    assert (together.value, together.low, together.high) == pytest.approx((np.mean(exact), *t.interval(0.95)))
    assert together.p_value == pytest.approx(2 * stats.t.cdf(-abs(np.mean(exact)) / np.std(draws, ddof=1), freedom))
    assert together.n == 12 and together.ratio == pytest.approx(1 + np.mean(exact) / parent.mean())
    assert together.ratio_low is not None and together.ratio_low < together.ratio
    fewer = 2 * max(1, (np.var(ratios, ddof=1) / (between / parent.mean() ** 2)) ** 2)
    assert together.ratio - together.ratio_low == pytest.approx(stats.t.ppf(0.975, fewer) * np.std(ratios, ddof=1))


def test_seeds_add_their_own_spread_to_that_of_the_prompts() -> None:
    rng = np.random.default_rng(16)
    effects = np.array([-0.30, -0.20, -0.28, -0.24])
    many = FEW._replace(resamples=4000)
    models = [mean_of(values) for values in seed_values(rng, effects, 200)]
    exact = [estimate(model, "fr", many) for model in models]
    together = seeds(exact, many)
    assert together.own is not None and together.own.draws is not None
    prompts = 0.2**2 / 200  # the textbook variance of the mean of what the prompts share
    assert together.own.draws.std() == pytest.approx(np.sqrt(effects.var(ddof=1) / 4 + prompts), rel=0.08)
    assert together.n == 200 and together.p_value is None
    assert together.value == pytest.approx(np.mean([e.value for e in exact]))
    alike = seeds([exact[0]] * 3, many)  # equal seeds: what is left is the prompts' spread
    assert (alike.low, alike.high) == pytest.approx((exact[0].low, exact[0].high), abs=0.002)


def test_macro_mean_over_seeds_is_the_mean_over_seeds_of_their_macro_means() -> None:
    """The seeds drawn are the same in every language: a seed that is worse is worse everywhere."""
    rng = np.random.default_rng(17)
    effects = np.array([-0.5, -0.1, -0.3])
    made = {
        code: [estimate(mean_of(v), code, FEW) for v in seed_values(rng, effects, 40)] for code in ("fr", "de", "hi")
    }
    together = macro([seeds(found, FEW) for found in made.values()], 0.95)
    by_seed = seeds([macro([found[s] for found in made.values()], 0.95) for s in range(3)], FEW)
    assert together.own is not None and by_seed.own is not None
    assert together.n == by_seed.n == 3
    assert (together.value, together.low, together.high) == pytest.approx((by_seed.value, by_seed.low, by_seed.high))
    assert together.own.seeds == pytest.approx(by_seed.own.seeds)
    assert together.high - together.low > 2 * 1.96 * effects.std(ddof=1) / np.sqrt(3)  # three languages do not help


def test_a_seed_without_a_value_leaves_none_for_the_mean() -> None:
    one = estimate(mean_of(np.arange(5.0)), "fr", FEW)
    other = estimate(mean_of(np.arange(7.0)), "fr", FEW)
    made = seeds([one, estimate(without_value("missing"), "fr", FEW), other], FEW)
    assert (made.value, made.low, made.n, made.status) == (None, None, 0, "missing")


def test_seeds_with_one_prompt_have_a_mean_and_no_interval() -> None:
    made = seeds([difference(mean_of(np.ones(1) * v), mean_of(np.full(1, 0.5)), "fr", FEW) for v in (0.1, 0.2)], FEW)
    assert made.value == pytest.approx(-0.35)
    assert (made.low, made.p_value, made.detectable, made.ratio_low) == (None, None, None, None)


@pytest.mark.parametrize("kind", ["ratio", "quantile"])
def test_series_on_more_prompts_has_the_same_value_and_the_others_draws(kind: str) -> None:
    names, values = ["a", "c", "d"], np.array([1.0, 5.0, 2.0])
    made = ratio(names, values, np.ones(3)) if kind == "ratio" else quantile(names, np.arange(3), values)
    more = made.over(("a", "b", "c", "d"))
    assert (made.exact(), made.value()) == (more.exact(), more.value())
    drawn = np.array([[1.0, 3.0, 0.0, 0.0], [2.0, 0.0, 1.0, 1.0], [0.0, 4.0, 0.0, 0.0]])
    want = [1.0, 9 / 4 if kind == "ratio" else 1.5, np.nan]  # nothing drawn that has a value: no value
    assert more.under(drawn) == pytest.approx(want, nan_ok=True)
