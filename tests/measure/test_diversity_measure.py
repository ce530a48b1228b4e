"""dist-n and novelty under the conventions, against loops over the texts' units."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
import small_tables as tables

from detox_ray.measure.completions import ANY_WIDTH
from detox_ray.measure.conventions import chosen
from detox_ray.measure.diversity import DiversitySeries, diversity_metrics

Texts = Sequence[Sequence[Sequence[str]]]  # prompts, completions, units; no unit: empty, or all its tokens vanished


def measured(texts: Texts, convention: str, **switches: str) -> DiversitySeries:
    own = [["the", "b"]] * len(texts)
    right = np.arange(len(texts))[:, None] * ANY_WIDTH + np.arange(max(map(len, texts)))  # all of them
    prompts = tables.prompts(["text"] * len(texts))
    return diversity_metrics(prompts, tables.diversities(own, texts), chosen(convention, switches), right.ravel())


def drawn() -> list[list[list[str]]]:
    rng = random.Random(3)
    texts = [[rng.choices("abcdefgh", k=rng.randint(0, 9)) for _ in range(25)] for _ in range(5)]
    texts[1][3:20] = [[]] * 17  # a block of 25 with gaps
    texts[2] = [[]] * 25  # a block with nothing left
    texts[4] = [["a"], ["b"], []] + [[]] * 22  # unigrams only: n-grams do not cross completions
    return texts


def test_paper_convention_divides_by_unigrams_per_block_of_25_and_rounds() -> None:
    texts = drawn()
    made = measured(texts, "paper")
    for n in (1, 2, 3):
        shares = []
        for block in texts:
            held = [units for units in block if units]
            if not held:
                continue
            grams = ["_".join(units[j : j + n]) for units in held for j in range(len(units) - n + 1)]
            shares.append(len(set(grams)) / sum(len(units) for units in held))
        assert made.series[f"dist_{n}"].value() == round(sum(shares) / len(shares), 3)
        assert made.series[f"dist_{n}_std"].value() == round(float(np.std(shares)), 3)
        assert len(made.series[f"dist_{n}"].clusters) == 4
    assert made.counts == {"ok": 4, "empty": 1}


def test_corrected_divides_by_ngrams_and_leaves_out_prompts_without_any() -> None:
    texts = [[["a", "b", "a"], ["a", "b"]], [["c"]], [[]]]
    made = measured(texts, "corrected").series
    assert made["dist_1"].value() == pytest.approx((2 / 5 + 1) / 2)
    assert made["dist_2"].value() == pytest.approx(2 / 3)  # a_b, b_a, a_b; prompt c has no bigram
    assert made["dist_3"].value() == 1.0 and made["dist_3"].clusters == ("p0",)
    switched = measured(texts, "corrected", dist_denominator="unigrams").series
    assert switched["dist_2"].value() == pytest.approx((2 / 5 + 0) / 2)


def test_novelty_is_the_mean_over_completions_of_the_units_new_to_the_prompt() -> None:
    texts = [[["the", "a", "a"], ["b"]], [["c", "d"], []], [[], []]]
    shares = [1 / 3, 0.0, 1.0]  # distinct new units over all units
    made = measured(texts, "corrected").series["novelty"]
    assert made.value() == pytest.approx(sum(shares) / 3) and made.clusters == ("p0", "p1")
    theirs = measured(texts, "neplenbroek2025").series["novelty"]  # an empty completion is 0
    assert theirs.value() == pytest.approx(sum(shares) / 6) and theirs.clusters == ("p0", "p1", "p2")


def test_prompts_without_units_are_counted_and_alone_give_a_status() -> None:
    made = measured([[[], []]], "paper")
    assert {series.status for series in made.series.values()} == {"empty"} and made.counts == {"empty": 1}
    only = measured([[["a"]]], "corrected").series
    assert only["dist_2"].status == "no_units" and only["dist_1"].value() == 1.0
