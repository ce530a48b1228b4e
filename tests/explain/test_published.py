"""The published neurons, activations and correlations, held against this project's own readers and statistics."""

import json
from pathlib import Path

import numpy as np
import pytest
from published import ACTIVATIONS, CORRELATIONS, LAYERS, NEURONS, SOURCES
from scipy import stats

from detox_ray.config.languages import LANGUAGES
from detox_ray.explain.correlation import correlate, detectable, fisher_interval
from detox_ray.explain.given_files import read_neurons
from detox_ray.measure.corrections import holm


def test_the_36_sources_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "sources.json").write_text(json.dumps(SOURCES))
    sources = read_neurons(tmp_path / "sources.json")
    assert sources == SOURCES and len(set(sources)) == 36
    assert all(0 <= layer < LAYERS and 0 <= neuron < NEURONS for layer, neuron in sources)


def test_activations_fall_in_all_17_languages() -> None:
    assert len(ACTIVATIONS) == 17 and ACTIVATIONS.keys() <= set(LANGUAGES)
    before, after = np.array(list(ACTIVATIONS.values())).T
    assert (before.mean(), after.mean()) == pytest.approx((0.052, -0.011), abs=0.0005)
    assert (after < before).all()
    assert ((before > 0) & (after < 0)).sum() == 13
    # The paper's text says that all are positive before; Czech is not.
    assert [code for code, (pre, _) in ACTIVATIONS.items() if pre < 0] == ["cs"]


def test_correlations_have_the_p_value_of_16_languages() -> None:
    n = 16
    for r, expected in CORRELATIONS.values():
        t = r * np.sqrt((n - 2) / (1 - r**2))
        assert 2 * stats.t.sf(t, n - 2) == pytest.approx(expected, rel=0.1)
        low, high = fisher_interval(r, n)
        assert low > 0.1 and high > 0.8
    corrected = dict(zip(CORRELATIONS, holm([p for _, p in CORRELATIONS.values()]), strict=True))
    assert corrected["BLOOM-1.7B"] == pytest.approx(0.016), "the paper says p < .01"
    smallest = detectable(n)
    assert smallest is not None and CORRELATIONS["BLOOM-1.7B"][0] < smallest < CORRELATIONS["BLOOM-7.1B"][0]


def test_a_permutation_finds_the_p_value_of_a_published_r() -> None:
    """16 points that have exactly r = .59: the stage's own p-value is Student's."""
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2, 16))
    x = (x - x.mean()) / x.std()
    noise -= noise.mean() + x * (noise @ x) / 16
    y = 0.59 * x + np.sqrt(1 - 0.59**2) * noise / noise.std()
    correlation = correlate(x, y, "pearson", 0)
    assert correlation.value == pytest.approx(0.59)
    assert correlation.p_value == pytest.approx(0.016, abs=0.006)
