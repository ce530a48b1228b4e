"""A number of several means is resampled and swapped as if each resample were measured by itself."""

import numpy as np
import pytest

from detox_ray.measure.combined import Combined, combined
from detox_ray.measure.resampling import Resampling
from detox_ray.measure.statistics import difference, estimate
from detox_ray.suites.bias.metrics import icat

RESAMPLING = Resampling(0, 300, 0.95)


def series(seed: int, size: int = 30) -> Combined:
    rng = np.random.default_rng(seed)
    scores = np.stack([rng.random(size) < 0.6, rng.random(size) < 0.9], axis=1).astype(float)
    return combined([f"t{number:02}" for number in range(size)], scores, np.ones(size), icat)


def by_hand(scores: np.ndarray) -> float:
    stereotype, ability = scores.mean(axis=0)
    return float(ability * min(stereotype, 1 - stereotype) / 0.5)


def test_a_resample_is_what_its_clusters_give_by_themselves() -> None:
    one = series(1)
    assert one.exact() == one.value() == pytest.approx(by_hand(one.numerators))
    weights = np.random.default_rng(2).integers(0, 3, size=(5, len(one.clusters))).astype(float)
    repeated = [by_hand(np.repeat(one.numerators, row.astype(int), axis=0)) for row in weights]
    assert one.under(weights) == pytest.approx(repeated)
    assert one.left_out()[3] == pytest.approx(by_hand(np.delete(one.numerators, 3, axis=0)))
    assert one.pick([0, 2, 5]).exact() == pytest.approx(by_hand(one.numerators[[0, 2, 5]]))
    wider = tuple(sorted((*one.clusters, "t99", "a")))
    assert one.over(wider).exact() == pytest.approx(one.exact())


def test_a_swap_exchanges_a_clusters_two_models() -> None:
    a, b = series(1), series(2)
    coins = np.ones((1, len(a.clusters)))
    coins[0, :7] = -1
    mixed, other = a.numerators.copy(), b.numerators.copy()
    mixed[:7], other[:7] = b.numerators[:7], a.numerators[:7]
    assert a.swapped(b, coins)[0] == pytest.approx(by_hand(mixed) - by_hand(other))


def test_it_has_an_interval_and_a_test_like_any_other_number() -> None:
    a, b = series(1), series(2)
    value, gap = estimate(a, "en", RESAMPLING), difference(a, b, "en", RESAMPLING)
    assert value.value is not None and value.low is not None and value.high is not None
    assert value.low < value.value < value.high
    assert gap.value == pytest.approx(a.exact() - b.exact()) and gap.p_value is not None and 0 < gap.p_value <= 1
    assert gap.low is not None and gap.high is not None and gap.low <= gap.value <= gap.high
