"""Predictors have their known values on made-up vectors, and correlations those of SciPy and of simulations."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from detox_ray.explain.alignment import alignment, subword_overlap
from detox_ray.explain.correlation import CONSTANT, SATURATED, TOO_FEW, correlate, detectable, fisher_interval
from detox_ray.explain.tables import PREDICTORS
from detox_ray.explain.transfer import falls
from detox_ray.explain.transfer_tables import PromptScores, correlation_rows
from detox_ray.measure.corrections import holm
from detox_ray.measure.resampling import Resampling

RNG = np.random.default_rng(0)


def test_equal_states_are_aligned_and_retrieved() -> None:
    states = RNG.normal(size=(20, 3, 16))
    found = alignment(states, states)
    for values in (found.aligned_cosine, found.centred_cosine, found.retrieval, found.centred_retrieval):
        np.testing.assert_allclose(values, 1)


def test_constant_states_are_aligned_and_retrieved_by_chance() -> None:
    """The aligned cosine alone would call this a perfect alignment."""
    states = np.ones((20, 3, 16))
    found = alignment(states, states)
    np.testing.assert_allclose(found.aligned_cosine, 1)
    np.testing.assert_allclose(found.mismatched_cosine, 1)
    np.testing.assert_allclose(found.retrieval, 1 / 20)


def test_a_common_offset_hides_an_alignment_that_centring_shows() -> None:
    shared = RNG.normal(size=(30, 1, 16))
    english, other = shared + 50, shared - 50
    found = alignment(english, other)
    assert found.aligned_cosine.mean() < -0.9
    np.testing.assert_allclose(found.centred_cosine, 1)
    np.testing.assert_allclose(found.centred_retrieval, 1)


def test_alignment_is_that_of_loops_over_sentences_and_layers() -> None:
    english, other = RNG.normal(size=(7, 2, 5)), RNG.normal(size=(7, 2, 5))

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.sqrt(a @ a) / np.sqrt(b @ b))

    found = alignment(english, other)
    for i in range(7):
        own, wrong, hits = 0.0, 0.0, 0.0
        for layer in range(2):
            own += cosine(english[i, layer], other[i, layer]) / 2
            wrong += sum(cosine(english[i, layer], other[j, layer]) for j in range(7) if j != i) / 6 / 2
            there = max(range(7), key=lambda j: cosine(english[i, layer], other[j, layer]))
            back = max(range(7), key=lambda j: cosine(english[j, layer], other[i, layer]))
            hits += ((there == i) + (back == i)) / 2 / 2
        assert found.aligned_cosine[i] == pytest.approx(own)
        assert found.mismatched_cosine[i] == pytest.approx(wrong)
        assert found.retrieval[i] == pytest.approx(hits)


def test_overlap_counts_tokens_as_often_as_they_occur() -> None:
    assert subword_overlap([1, 1, 2, 3], [1, 4, 4, 3]) == pytest.approx(2 * 2 / 8)
    assert subword_overlap([1, 2], [1, 2]) == 1


@pytest.mark.parametrize("n", [5, 16])
def test_coefficients_are_scipys_and_so_is_p_where_all_permutations_are_counted(n: int) -> None:
    x, y = RNG.normal(size=n), RNG.normal(size=n)
    y += x
    for method, reference in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        found = correlate(x, y, method, 0)  # type: ignore[arg-type]
        assert found.value == pytest.approx(reference(x, y).statistic)
        if n == 5:
            all_r = [reference(x, y[list(order)]).statistic for order in itertools.permutations(range(5))]
            as_extreme = [abs(r) >= abs(found.value or 0) - 1e-12 for r in all_r]
            assert found.p_value == pytest.approx(sum(as_extreme) / 120)
        left = [reference(np.delete(x, i), np.delete(y, i)).statistic for i in range(n)]
        assert (found.loo_low, found.loo_high) == pytest.approx((min(left), max(left)))


def test_a_partial_correlation_is_that_of_residuals() -> None:
    z = RNG.normal(size=16)
    x, y = z + RNG.normal(size=16), z + RNG.normal(size=16)
    found = correlate(x, y, "pearson", 0, controls_LC=z[:, None])
    rest = [side - np.polyval(np.polyfit(z, side, 1), z) for side in (x, y)]
    assert found.partial == pytest.approx(stats.pearsonr(*rest).statistic)


def test_p_is_uniform_where_there_is_nothing() -> None:
    rng = np.random.default_rng(1)
    found = [
        correlate(rng.normal(size=12), rng.normal(size=12), "spearman", seed, resamples=2, permuted=100).p_value
        for seed in range(120)
    ]
    assert stats.kstest(np.array(found), "uniform").pvalue > 0.01


def test_the_interval_holds_the_truth() -> None:
    rng, hits = np.random.default_rng(2), 0
    for seed in range(150):
        x, y = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=16).T
        found = correlate(x, y, "pearson", seed, resamples=300, permuted=10)
        assert found.ci_low is not None and found.ci_high is not None
        hits += found.ci_low <= 0.6 <= found.ci_high
    assert hits / 150 >= 0.86


def test_a_target_without_spread_is_saturated() -> None:
    x = np.arange(16.0)
    assert correlate(x, np.full(16, 0.99), "pearson", 0).status == SATURATED
    assert correlate(np.ones(16), x, "pearson", 0).status == CONSTANT
    gone = np.where(x > 3, np.nan, x)
    found = correlate(gone, x, "pearson", 0)
    assert (found.status, found.n, found.value) == (TOO_FEW, 4, None)


def test_the_smallest_r_that_16_languages_show() -> None:
    assert detectable(16) == pytest.approx(0.65, abs=0.005)


def test_published_correlations_get_their_intervals() -> None:
    """Li et al. print r = .73, .59, .66, .78 over 16 languages, without intervals (docs/papers.md)."""
    expected = {0.73: (0.37, 0.90), 0.59: (0.13, 0.84), 0.66: (0.24, 0.87), 0.78: (0.46, 0.92)}
    for r, interval in expected.items():
        assert fisher_interval(r, 16) == pytest.approx(interval, abs=0.006)


def test_noise_of_the_target_shows_in_its_reliability() -> None:
    x = np.linspace(0, 1, 16)
    noise = RNG.normal(size=(500, 16))
    quiet = correlate(x, x, "pearson", 0, targets_RL=x + 0.01 * noise)
    loud = correlate(x, x, "pearson", 0, targets_RL=x + 1.0 * noise)
    assert quiet.reliability == pytest.approx(1, abs=0.01) and loud.reliability == 0
    assert loud.ci_low is not None and quiet.ci_low is not None and loud.ci_low < quiet.ci_low


def test_falls_are_of_means_and_stay_finite() -> None:
    before, after = np.array([0.8, 0.4, 0.6, 0.2]), np.array([0.0, 0.0, 0.2, 0.2])
    found = falls(before, after, 40, "fr", Resampling(0, 50, 0.95))
    assert found["relative"].value == pytest.approx(0.8)
    assert found["log-ratio"].value == pytest.approx(np.log(5))
    nothing_left = falls(before, np.zeros(4), 40, "fr", Resampling(0, 50, 0.95))
    assert nothing_left["log-odds"].value == pytest.approx(np.log(79))  # .5 to half a completion of forty
    assert all(np.isfinite(fall.draws).all() for fall in nothing_left.values())


def test_holm_s_family_is_all_predictors_and_targets_of_a_method() -> None:
    rng = np.random.default_rng(1)
    languages = [f"l{at}" for at in range(8)]
    predictors = [
        {"language": language, "predictor": name, "value": float(rng.normal()), "n": 5, "status": "ok"}
        for name in ("aligned_cosine", "subword_overlap")
        for language in languages
    ]

    def scores(high: float) -> dict[str, PromptScores]:
        return {code: PromptScores({str(p): rng.uniform(0.1, high) for p in range(6)}, 6) for code in languages}

    table = pa.Table.from_pylist(predictors, schema=PREDICTORS.columns)
    rows = correlation_rows("base", table, scores(0.9), scores(0.5), Resampling(0, 50, 0.95)).to_pylist()
    for method in ("spearman", "pearson"):
        family = [row for row in rows if row["method"] == method]
        assert len(family) == 6 and all(row["p_value"] is not None for row in family)
        assert [row["p_corrected"] for row in family] == pytest.approx(holm([row["p_value"] for row in family]))


@pytest.mark.parametrize("clean", [5, 4])
def test_a_logarithm_is_saturated_if_nothing_toxic_is_left_in_most_languages(clean: int) -> None:
    """Compare five of eight languages, where it only shows the level before, with four."""
    rng = np.random.default_rng(2)
    languages = [f"l{at}" for at in range(8)]
    predictors = [
        {"language": code, "predictor": "subword_overlap", "value": float(rng.normal()), "n": 5, "status": "ok"}
        for code in languages
    ]
    before = {code: PromptScores({str(p): rng.uniform(0.2, 0.9) for p in range(6)}, 6) for code in languages}
    after = {
        code: PromptScores({str(p): 0.0 if at < clean else 0.4 for p in range(6)}, 6)
        for at, code in enumerate(languages)
    }
    table = pa.Table.from_pylist(predictors, schema=PREDICTORS.columns)
    rows = correlation_rows("base", table, before, after, Resampling(0, 50, 0.95)).to_pylist()
    status = {row["target"]: row["status"] for row in rows if row["method"] == "spearman"}
    expected = SATURATED if clean == 5 else "ok"
    assert (status["log-ratio"], status["log-odds"]) == (expected, expected)
