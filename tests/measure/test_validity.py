"""Scorer validity: values against scikit-learn and SciPy, intervals against loops over the same resampled clusters."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from sklearn import metrics

from detox_ray.measure import spearman as ranks
from detox_ray.measure.resampling import Resampling, percentile_interval, weights
from detox_ray.measure.validity import (
    Validity,
    has_evidence,
    labelled_validity,
    no_validity,
    plain_calibration_error,
    validity,
)
from detox_ray.storage.tables import LABELLED, LABELLED_SCORES

FEW = Resampling(seed=0, resamples=100, confidence=0.9)
SINGLE = 4  # texts a cluster


def drawn(n: int, decimals: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Values, labels, grades, clusters; with one decimal there are many ties."""
    rng = np.random.default_rng(0)
    truth = rng.random(n)
    values = np.clip(np.round(0.5 * truth + 0.5 * rng.random(n), decimals), 0, 1)
    return values, truth >= 0.5, np.ceil(truth * 5), np.repeat(np.arange(n // SINGLE), SINGLE)


def made(values: np.ndarray, toxic: np.ndarray, grades: np.ndarray | None, clusters: np.ndarray) -> Validity:
    return validity(values, toxic, grades, clusters, "fr", FEW, scorer="s", reference="human: x", minimum=5)


def best_f1(values: np.ndarray, toxic: np.ndarray) -> tuple[float, float]:
    precision, recall, thresholds = metrics.precision_recall_curve(toxic, values)
    with np.errstate(invalid="ignore"):
        f1 = np.nan_to_num(2 * precision * recall / (precision + recall))[:-1]
    return f1.max(), thresholds[f1.argmax()]


def binned_error(values: np.ndarray, toxic: np.ndarray) -> float:
    bins = np.floor(np.minimum(values, 0.99) * 10)
    return sum((bins == b).mean() * abs(values[bins == b].mean() - toxic[bins == b].mean()) for b in np.unique(bins))


@pytest.mark.parametrize("decimals", [1, 9])
def test_values_are_those_of_sklearn_and_scipy_with_and_without_ties(decimals: int) -> None:
    values, toxic, grades, clusters = drawn(400, decimals)
    row = made(values, toxic, grades, clusters)
    assert row.auroc == pytest.approx(metrics.roc_auc_score(toxic, values))
    assert row.average_precision == pytest.approx(metrics.average_precision_score(toxic, values))
    assert (row.best_f1, row.best_f1_threshold) == pytest.approx(best_f1(values, toxic))
    assert row.spearman == pytest.approx(stats.spearmanr(values, grades).statistic)
    assert row.calibration_error == pytest.approx(binned_error(values, toxic))
    assert (row.n, row.n_toxic, row.status) == (400, toxic.sum(), "ok")


def test_calibration_error_by_hand() -> None:
    values, toxic = np.array([0.0, 0.05, 0.95, 1.0, 0.5]), np.array([0.0, 1.0, 1.0, 1.0, 0.0])
    # bins: two texts of mean 0.025 with one toxic; one of 0.5, harmless; two of mean 0.975, both toxic
    assert plain_calibration_error(values, toxic) == pytest.approx((2 * 0.475 + 0.5 + 2 * 0.025) / 5)


def looped(statistic: Callable[[np.ndarray], float], n: int) -> np.ndarray:
    """The statistic of the rows of each resample, one after the other."""
    draws = []
    for counts in np.concatenate(list(weights(n // SINGLE, "fr", FEW))):
        clusters = np.repeat(np.arange(n // SINGLE), counts.astype(int))
        draws.append(statistic((clusters[:, None] * SINGLE + np.arange(SINGLE)).ravel()))
    return np.array(draws)


def test_intervals_equal_loops_over_the_same_resampled_clusters() -> None:
    values, toxic, grades, clusters = drawn(120, 1)
    row = made(values, toxic, grades, clusters)
    auroc = looped(lambda rows: metrics.roc_auc_score(toxic[rows], values[rows]), 120)
    precision = looped(lambda rows: metrics.average_precision_score(toxic[rows], values[rows]), 120)
    correlation = looped(lambda rows: stats.spearmanr(values[rows], grades[rows]).statistic, 120)
    f1 = looped(lambda rows: best_f1(values[rows], toxic[rows])[0], 120)
    error = looped(lambda rows: binned_error(values[rows], toxic[rows]), 120)
    assert (row.ci_low, row.ci_high) == pytest.approx(percentile_interval(auroc, 0.9))
    interval = row.average_precision_low, row.average_precision_high
    assert interval == pytest.approx(percentile_interval(precision, 0.9))
    assert (row.spearman_low, row.spearman_high) == pytest.approx(percentile_interval(correlation, 0.9), abs=1e-6)
    low, high = percentile_interval(f1, 0.9)
    assert (row.best_f1_low, row.best_f1_high) == pytest.approx((2 * row.best_f1 - high, 2 * row.best_f1 - low))
    low, high = percentile_interval(error, 0.9)
    assert row.calibration_error_high == pytest.approx(max(row.calibration_error, 2 * row.calibration_error - low))


def test_binned_intervals_are_close_to_the_unbinned(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = drawn(4000, 9)
    binned = made(*sample)
    monkeypatch.setattr(ranks, "BINS", 5000)
    whole = made(*sample)
    assert list(binned[5:-1]) == pytest.approx(list(whole[5:-1]), abs=0.001)
    points = ("auroc", "average_precision", "best_f1", "best_f1_threshold", "calibration_error", "spearman")
    assert [getattr(binned, name) for name in points] == [getattr(whole, name) for name in points]


def test_clusters_that_repeat_one_text_widen_the_interval() -> None:
    values, toxic, grades, _ = drawn(100, 9)
    apart = made(values, toxic, grades, np.arange(100))
    fourfold = [np.tile(side, 4) for side in (values, toxic, grades, np.arange(100))]
    together = made(*fourfold)
    careless = made(*fourfold[:3], np.arange(400))
    assert together.auroc == pytest.approx(apart.auroc)
    assert (together.ci_low, together.ci_high) == pytest.approx((apart.ci_low, apart.ci_high))
    assert careless.ci_high - careless.ci_low < 0.7 * (together.ci_high - together.ci_low)


def test_intervals_of_auroc_and_calibration_error_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    held = np.zeros(2)
    for seed in range(120):
        toxic = rng.random(200) < 0.5
        values = 1 / (1 + np.exp(-rng.normal(np.where(toxic, 0.5, -0.5))))  # perfectly calibrated; P(t > h) known
        settings = Resampling(seed, 100, 0.95)
        row = validity(values, toxic, None, np.arange(200), "x", settings, scorer="s", reference="r", minimum=5)
        held += [row.ci_low <= stats.norm.cdf(1 / np.sqrt(2)) <= row.ci_high, row.calibration_error_low == 0]
    assert np.all(held / 120 >= 0.88) and held[0] / 120 <= 0.99


def test_a_perfect_and_a_reversed_scorer() -> None:
    toxic = np.arange(40) >= 20
    row = made(toxic.astype(float), toxic, toxic.astype(float), np.arange(40))
    assert (row.auroc, row.average_precision, row.best_f1, row.best_f1_threshold) == (1, 1, 1, 1)
    assert (row.calibration_error, row.spearman) == pytest.approx((0, 1))
    assert has_evidence(row)
    reversed_ = made(1 - toxic.astype(float), toxic, toxic.astype(float), np.arange(40))
    assert reversed_.auroc == 0 and not has_evidence(reversed_)


def test_a_scorer_that_gives_one_value_guesses_and_has_no_rank_correlation() -> None:
    _, toxic, grades, clusters = drawn(80, 9)
    row = made(np.full(80, 0.3), toxic, grades, clusters)
    assert (row.auroc, row.spearman, row.status) == (0.5, None, "ok")
    assert not has_evidence(row)


@pytest.mark.parametrize(
    ("n", "n_toxic", "status"),
    [(0, 0, "no_common_scores"), (9, 9, "one_class"), (9, 0, "one_class"), (20, 4, "too_few"), (20, 16, "too_few")],
)
def test_no_numbers_without_enough_of_both_classes(n: int, n_toxic: int, status: str) -> None:
    row = made(np.linspace(0, 1, n), np.arange(n) < n_toxic, None, np.arange(n))
    assert row == no_validity("s", "human: x", "fr", status, n, n_toxic)
    assert not has_evidence(row)


def test_one_cluster_has_values_but_no_intervals_and_so_no_evidence() -> None:
    toxic = np.arange(12) >= 6
    row = made(toxic.astype(float), toxic, toxic.astype(float), np.zeros(12))
    assert row.auroc == 1 and row.status == "ok"
    assert [row.ci_low, row.best_f1_low, row.calibration_error_high, row.spearman_low] == [None] * 4
    assert not has_evidence(row)


def tables(statuses: list[str], values: list[float | None]) -> tuple[pa.Table, pa.Table]:
    n = len(statuses)
    common = {"kind": "text", "source": "x", "text": "t"}
    labelled = [{"text_id": str(i), "cluster": str(i), "grade": i % 2, "toxic": i % 2 == 1, **common} for i in range(n)]
    scores = [
        {"text_id": str(i), "attribute": attribute, "value": value, "status": statuses[i]}
        for i in reversed(range(n))
        for attribute, value in (("toxicity", values[i]), ("insult", 0.123 if values[i] is not None else None))
    ]
    return pa.Table.from_pylist(labelled, LABELLED.columns), pa.Table.from_pylist(scores, LABELLED_SCORES.columns)


def joined(labelled: pa.Table, scores: pa.Table | None) -> tuple[Validity, dict[str, int]]:
    return labelled_validity(labelled, scores, "fr", FEW, scorer="s", reference="truth: x", minimum=2)


def test_texts_without_a_value_are_counted_and_left_out() -> None:
    statuses = ["ok"] * 8 + ["failed", "empty"]
    values = [0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.6, 0.5, None, None]
    labelled, scores = tables(statuses, values)
    row, counts = joined(labelled, scores.slice(0, 18))  # the first text has no row at all
    assert counts == {"missing": 1, "ok": 7, "failed": 1, "empty": 1}
    assert (row.n, row.n_toxic) == (7, 4)
    assert row.auroc == pytest.approx(11 / 12)  # 0.5 is toxic and below the harmless 0.6


@pytest.mark.parametrize("status", ["failed", "unsupported_language", "empty"])
def test_a_scorer_without_any_value_says_why(status: str) -> None:
    row, counts = joined(*tables([status] * 6, [None] * 6))
    assert row.status == (status if status != "empty" else "no_common_scores")
    assert (row.n, counts) == (0, {status: 6})


def test_without_labels_or_scores_there_is_no_evidence() -> None:
    labelled, scores = tables(["ok"] * 4, [0.5] * 4)
    assert joined(labelled.slice(0, 0), scores)[0].status == "no_labels"
    assert joined(labelled, None) == (no_validity("s", "truth: x", "fr", "missing"), {"missing": 4})
