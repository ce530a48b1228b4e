"""The findings of the report's section: means with intervals, recovered shares, and figures with their numbers."""

from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest

from detox_ray.cluster.section_figures import Curve, Dot, DotRow, _ticks, dot_figure, line_figure
from detox_ray.explain.activation_tables import Prompted, offset_amounts
from detox_ray.explain.figures import effect_curves
from detox_ray.explain.findings import (
    Interval,
    Outcome,
    insult_shares,
    mean_interval,
    outcomes,
    recovered,
    unjudged_languages,
)
from detox_ray.explain.reading import LayerReading, Reading
from detox_ray.explain.tables import INTERVENTIONS, NEURONS
from detox_ray.measure.resampling import Resampling

RESAMPLING = Resampling(0, 200, 0.95)


def test_outcomes_are_means_over_languages_of_each_languages_mean() -> None:
    def rows(language: str, totals: list[float]) -> pa.Table:
        edit = {"language": language, "intervention": "offset", "draw": 0, "amount": -2.0, "edited": "base"}
        toxicity = [
            {**edit, "quantity": "toxicity", "item_id": str(at), "total": total, "count": 2}
            for at, total in enumerate(totals)
        ]
        nll = {**edit, "quantity": "nll", "item_id": "t", "total": 6.0, "count": 3}
        right = {**edit, "quantity": "language", "item_id": "0", "total": 1.0, "count": len(totals)}
        return pa.Table.from_pylist([*toxicity, nll, right], schema=INTERVENTIONS.columns)

    found = outcomes(pa.concat_tables([rows("en", [2.0, 0.0]), rows("fr", [1.0, 0.0])]), RESAMPLING)
    outcome = found["offset", "base", -2.0, 0]
    assert outcome.toxicity.value == pytest.approx((2 / 4 + 1 / 4) / 2)
    assert outcome.toxicity.low is not None and outcome.toxicity.low < outcome.toxicity.value
    assert outcome.perplexity == pytest.approx(np.exp(2))
    assert outcome.consistency == pytest.approx(0.5)


def test_all_edits_are_means_over_the_same_languages() -> None:
    """French is the toxic language, and the strong dose leaves no completion to judge in it."""
    rows = [
        {
            "language": language,
            "intervention": intervention,
            "draw": 0,
            "amount": amount,
            "edited": "base",
            "quantity": "toxicity",
            "item_id": str(item),
            "total": total * count,
            "count": count,
        }
        for intervention, amount, language, total, count in (
            ("none", 0.0, "en", 0.25, 4),
            ("none", 0.0, "fr", 0.75, 4),
            ("offset", -2.0, "en", 0.25, 4),
            ("offset", -2.0, "fr", 0.0, 0),
        )
        for item in range(2)
    ]
    table = pa.Table.from_pylist(rows, schema=INTERVENTIONS.columns)
    found = outcomes(table, RESAMPLING)
    assert [found[edit].toxicity.value for edit in sorted(found)] == [0.25, 0.25], "nothing changed in English"
    assert unjudged_languages(table) == ["fr"]
    assert unjudged_languages(table.filter(pa.array([row["language"] == "en" for row in rows]))) == []


def test_a_share_is_recovered_of_a_fall_that_is_there() -> None:
    before, after = Interval(0.9, 0.8, 1.0), Interval(0.1, 0.0, 0.2)
    assert recovered(before, after, Interval(0.5, 0.4, 0.6)) == pytest.approx(0.5)
    assert recovered(before, Interval(0.85, 0.75, 0.95), before) is None


def test_insult_shares_compare_vectors_with_their_partners() -> None:
    row = {"layer": 0, "neuron": 0, "cosine": 0.0, "norm": 1.0, "tokens": ["a", "b"], "token_scores": [1.0, 0.5]}
    neurons = [
        {**row, "rank": 0, "draw": 0, "token_languages": [["en", "fr"], ["de"]]},
        {**row, "rank": 0, "draw": 1, "token_languages": [[], ["en"]]},
    ]
    found = insult_shares(pa.Table.from_pylist(neurons, schema=NEURONS.columns))
    assert found is not None and found[0] == (1.0, 3.0) and found[1] == (0.5, 1.0)
    unknown = [{**each, "token_languages": None} for each in neurons]
    assert insult_shares(pa.Table.from_pylist(unknown, schema=NEURONS.columns)) is None


def test_a_curve_s_band_reaches_a_bound_of_zero() -> None:
    outcomes_by_edit = {
        ("none", "base", 0.0, 0): Outcome(Interval(0.5, 0.4, 0.6), None, None),
        ("offset", "base", -2.0, 0): Outcome(Interval(0.1, 0.0, 0.2), None, None),
        ("offset", "base", -2.0, 1): Outcome(Interval(0.5, 0.4, 0.6), None, None),
    }
    chosen, _ = effect_curves(outcomes_by_edit, "base")
    assert chosen.band == ((-2.0, 0.0, 0.2), (0.0, 0.4, 0.6))


def test_an_interval_of_one_prompt_is_none() -> None:
    assert mean_interval(np.array([0.3]), "en", RESAMPLING) == (0.3, None, None)


def test_figures_hold_their_numbers_as_text_and_escape_names() -> None:
    rows = [DotRow("<b>French", [Dot(0.51, 0.4, 0.6), Dot(0.9, None, None)]), DotRow("none", [], "no sources")]
    svg = dot_figure(rows, "AUROC", "title", marks=[0.5])
    text = " ".join(ElementTree.fromstring(svg).itertext())
    assert "<b>French: 0.51 [0.4, 0.6]" in text and "no sources" in text
    curves = [Curve("chosen", [(-2.0, 0.2), (0.0, 0.9)], band=((-2.0, 0.1, 0.3), (0.0, 0.8, 1.0)))]
    text = " ".join(ElementTree.fromstring(line_figure(curves, "dose", "toxicity", "title")).itertext())
    assert "chosen, \N{MINUS SIGN}2: 0.2" in text
    assert line_figure([], "x", "y", "title") == ""
    layers = [Curve("", [(0.0, 0.2), (3.0, 0.9)])]
    assert ">0.5</text>" in line_figure(layers, "dose", "AUROC", "title").split("AUROC")[0]
    assert ">1.5</text>" not in line_figure(layers, "layer", "AUROC", "title", whole=True)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.03, 0.4), (-5.0, 0.0), (0.0, 104.0), (-13.2, 2.5)])
def test_ticks_are_a_handful_of_round_numbers_within_the_bounds(low: float, high: float) -> None:
    ticks = _ticks(low, high)
    assert 3 <= len(ticks) <= 10 and low <= ticks[0] and ticks[-1] <= high + 1e-9
    assert all(float(f"{tick:.2g}") == pytest.approx(tick) for tick in ticks)


def test_a_dose_in_standard_deviations_is_in_each_neuron_s_own() -> None:
    """Also a neuron of a matched draw has its own, not that of the source that it is matched with."""
    layer = LayerReading(np.array([4.0, 0.0]), np.array([40.0, 4.0]), np.array([4, 2]), np.empty((2, 0)))
    english = Prompted(["a", "b"], Reading([layer], np.array([2, 2])), [[]])
    assert offset_amounts(-2.0, "sd", english, [(0, 0), (0, 1)]) == pytest.approx([-6.0, -2.0])
    assert offset_amounts(-2.0, "raw", english, [(0, 0), (0, 1)]) == [-2.0, -2.0]
