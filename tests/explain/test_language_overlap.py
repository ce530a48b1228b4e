"""Overlaps of the languages' strongest neurons, and what shuffled activations give."""

import numpy as np
import pytest

from detox_ray.explain.language_overlap import jaccard, overlap_rows, strongest


def test_strongest_neurons_are_ranked_over_all_layers_by_what_they_write() -> None:
    means = [np.array([1.0, -2.0]), np.array([0.5, 3.0])]
    projections = [np.array([1.0, -1.0]), np.array([1.0, 0.1])]
    assert strongest(means, projections, 2) == {1, 0}, "−2 · −1, then 1 · 1; 3 · .1 is less"


def test_jaccard_is_the_share_in_both() -> None:
    assert jaccard(frozenset({1, 2, 3}), frozenset({2, 3, 4})) == pytest.approx(0.5)


def test_equal_activations_overlap_fully_and_shuffled_ones_by_chance() -> None:
    rng = np.random.default_rng(0)
    projections = [np.ones(200), np.ones(200)]
    same = [rng.normal(size=200), rng.normal(size=200)]
    means = {"en": same, "fr": same, "de": [rng.normal(size=200), rng.normal(size=200)]}
    rows = {(row["language"], row["other"]): row for row in overlap_rows(means, projections, 40, seed=1).to_pylist()}
    assert rows["en", "fr"]["jaccard"] == 1 and rows["en", "fr"]["chance"] < 0.2
    assert rows["en", "de"]["jaccard"] < 0.2, "no more than chance"
    assert len(rows) == 3
