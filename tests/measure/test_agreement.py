"""Scorer validity: AUROC against counting pairs, and its interval against a loop over resampled prompts."""

import numpy as np
import pytest
from scipy import stats

from detox_ray.measure import agreement as module
from detox_ray.measure.agreement import auroc
from detox_ray.measure.statistics import Resampling, percentile_interval, weights

FEW = Resampling(seed=0, resamples=200, confidence=0.9)


def by_counting(values: np.ndarray, toxic: np.ndarray) -> float:
    pairs = [(v > w) + (v == w) / 2 for v in values[toxic] for w in values[~toxic]]
    return sum(pairs) / len(pairs)


def drawn(n: int, decimals: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    reference = rng.random(n)
    return np.round(0.5 * reference + 0.5 * rng.random(n), decimals), reference, np.repeat(np.arange(n // 4), 4)


def test_auroc_counts_pairs_with_ties_as_half_and_agrees_with_scipy() -> None:
    values, reference, prompts = drawn(120, 1)
    toxic = reference >= 0.5
    made, *_ = auroc(values, reference, prompts, "fr", FEW)
    assert made == pytest.approx(by_counting(values, toxic))
    u = stats.mannwhitneyu(values[toxic], values[~toxic]).statistic
    assert made == pytest.approx(u / (toxic.sum() * (~toxic).sum()))


def test_interval_equals_a_loop_over_the_same_resampled_prompts() -> None:
    values, reference, prompts = drawn(80, 1)
    looped = []
    for counts in np.concatenate(list(weights(20, "fr", FEW))):
        rows = np.concatenate([np.flatnonzero(prompts == p) for p in range(20) for _ in range(int(counts[p]))])
        looped.append(by_counting(values[rows], reference[rows] >= 0.5))
    _, low, high, status = auroc(values, reference, prompts, "fr", FEW)
    assert (low, high) == pytest.approx(percentile_interval(np.array(looped), 0.9))
    assert status == "ok"


def test_binned_interval_is_within_a_thousandth_of_the_unbinned(monkeypatch: pytest.MonkeyPatch) -> None:
    values, reference, prompts = drawn(4000, 9)
    binned = auroc(values, reference, prompts, "fr", FEW)
    monkeypatch.setattr(module, "_BINS", 5000)
    whole = auroc(values, reference, prompts, "fr", FEW)
    assert binned[0] == whole[0]
    assert binned[1:3] == pytest.approx(whole[1:3], abs=0.001)


def test_no_auroc_without_both_classes_or_without_scores() -> None:
    one = np.array([0.1, 0.2])
    assert auroc(one, one, np.array([0, 1]), "fr", FEW) == (None, None, None, "one_class")
    empty = np.empty(0)
    assert auroc(empty, empty, np.empty(0, dtype=np.int64), "fr", FEW) == (None, None, None, "no_common_scores")


def test_one_prompt_has_a_value_but_no_interval() -> None:
    values, reference = np.array([0.1, 0.9]), np.array([0.0, 1.0])
    assert auroc(values, reference, np.array([3, 3]), "fr", FEW) == (1.0, None, None, "ok")
